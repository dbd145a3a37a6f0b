// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/gosnmp/gosnmp"

	"github.com/steelyard-lb/steelyard/core"
)

// An snmpError is a failed run, ready for a sample.
type snmpError struct {
	code     core.Code
	text     string
	answered bool // the agent sent something
}

func (e *snmpError) Error() string { return e.text }

// explain finds out why a run failed: what the agent reported counts before
// what gosnmp made of it. None of the sentences can hold a secret: they are
// made of our own words, the address and the user.
func (c *snmpClient) explain(ctx context.Context, packet *gosnmp.SnmpPacket, err error) *snmpError {
	fail := func(code core.Code, format string, args ...any) *snmpError {
		return &snmpError{code, fmt.Sprintf(format, args...), c.conn.heard}
	}
	if text := c.refused(); text != "" {
		return fail(core.SNMPAuth, "agent %s refused user %q: %s", c.addr, c.spec.User, text)
	}
	switch {
	case err == nil && packet.PDUType == gosnmp.Report:
		return fail(core.SNMPAuth, "agent %s answered user %q with a report it gives no reason in", c.addr, c.spec.User)
	case err == nil && (packet.Error == gosnmp.AuthorizationError || packet.Error == gosnmp.NoAccess):
		return fail(core.SNMPAuth, "agent %s does not let this user or community read (%s)", c.addr, packet.Error)
	case err == nil:
		return fail(core.SNMPValue, "agent %s answered with the error %s", c.addr, packet.Error)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail(core.SNMPTime, "nothing listens on UDP %s: start the agent there (snmpd's default agentaddress is the loopback only)", c.addr)
	case unreachable(err):
		return fail(core.SNMPTime, "no way to agent %s: %v", c.addr, cause(err))
	case errors.Is(err, syscall.EPERM):
		return fail(core.Internal, filteredHere, c.addr)
	case silent(ctx, err) && c.spec.Version == "2c":
		return fail(core.SNMPTime, "no answer from agent %s in %s: unreachable, filtered or wrong community (a v2c agent is silent then)", c.addr, c.timeout)
	case silent(ctx, err) && c.conn.heard:
		// net-snmp takes what it decrypts to garbage for a broken packet.
		return fail(core.SNMPAuth, "agent %s answers discovery, but not user %q: wrong privacy password or privacy protocol (an agent is silent then)", c.addr, c.spec.User)
	case silent(ctx, err):
		return fail(core.SNMPTime, "no answer from agent %s in %s: unreachable or filtered", c.addr, c.timeout)
	}
	return fail(core.SNMPValue, "agent %s: the answer could not be read", c.addr)
}

// refused is the reason that the agent reported, "" if it reported none.
func (c *snmpClient) refused() string {
	switch c.conn.refusal {
	case usmLevel:
		return "it does not take messages of this security level from the user"
	case usmTimeWindow:
		return "its clock and its boot count do not fit; was it restarted?"
	case usmUser:
		return "it does not know the user"
	case usmDigest:
		return "wrong auth password or auth protocol"
	case usmDecryption:
		return "wrong privacy password or privacy protocol"
	}
	return ""
}

// silent reports that no answer came in time. gosnmp has several words for it.
func silent(ctx context.Context, err error) bool {
	return ctx.Err() != nil || timedOut(err) || errors.Is(err, gosnmp.ErrMaxRetriesExceeded) ||
		strings.Contains(err.Error(), "timeout")
}
