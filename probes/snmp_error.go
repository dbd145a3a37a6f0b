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
	code core.Code
	text string
}

func (e *snmpError) Error() string { return e.text }

func (c *snmpClient) fail(code core.Code, format string, args ...any) error {
	return &snmpError{code, fmt.Sprintf(format, args...)}
}

// explain finds out why there is no answer: what the agent reported counts before
// what the socket or gosnmp said. None of the sentences can hold a secret: they are
// made of our own words, the address and the user. odd is how many datagrams came
// that were not read.
func (c *snmpClient) explain(ctx context.Context, err error, refusal usmReport, odd int) error {
	if said := (*snmpError)(nil); errors.As(err, &said) {
		return said
	}
	user := c.spec.SNMP.User
	if text := refusalText(refusal); text != "" {
		return c.fail(core.SNMPAuth, "agent %s refused user %q: %s", c.addr, user, text)
	}
	switch {
	case err == nil:
		return c.fail(core.SNMPAuth, "agent %s answered user %q with a report it gives no reason in", c.addr, user)
	case errors.Is(err, syscall.ECONNREFUSED):
		return c.fail(core.SNMPTime, "nothing listens on UDP %s, or a filter rejects it: start the agent there (snmpd's default agentaddress is the loopback only)", c.addr)
	case unreachable(err):
		return c.fail(core.SNMPTime, "no way to agent %s: %v", c.addr, cause(err))
	case errors.Is(err, syscall.EPERM):
		return c.fail(core.Internal, filteredHere, c.addr)
	case silent(ctx, err) && odd > 0:
		return c.fail(core.SNMPValue, "what %s sends is no answer of an SNMP v%s agent to this question", c.addr, c.spec.SNMP.Version)
	case silent(ctx, err) && c.heard && c.spec.SNMP.Version == "3":
		// net-snmp takes what it decrypts to garbage for a broken packet.
		return c.fail(core.SNMPAuth, "agent %s answers discovery, but not user %q: wrong privacy password or privacy protocol (an agent is silent then)", c.addr, user)
	case silent(ctx, err) && c.spec.SNMP.Version == "3":
		return c.fail(core.SNMPTime, "no answer from agent %s in %s: unreachable or filtered", c.addr, c.timeout())
	case silent(ctx, err):
		return c.fail(core.SNMPTime, "no answer from agent %s in %s: unreachable, filtered or wrong community (a v%s agent is silent then)", c.addr, c.timeout(), c.spec.SNMP.Version)
	}
	return c.fail(core.SNMPValue, "agent %s: the answer could not be read", c.addr)
}

// refusal is about an answer that is an error.
func (c *snmpClient) refusal(status gosnmp.SNMPError) error {
	switch status {
	case gosnmp.AuthorizationError, gosnmp.NoAccess:
		return c.fail(core.SNMPAuth, "agent %s does not let this user or community read (%s)", c.addr, status)
	}
	return c.fail(core.SNMPValue, "agent %s answered with the error %s", c.addr, status)
}

// refusalText is the reason that an agent reported, "" if it reported none.
func refusalText(r usmReport) string {
	switch r {
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
