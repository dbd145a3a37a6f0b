// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/steelyard-lb/steelyard/core"
)

// An snmpClient asks one agent. Between runs it keeps the agent's v3 engine and
// the keys made for it, and nothing else: each run has a socket of its own, so
// no answer can come too late, and a gosnmp handle that is borrowed, because
// every handle holds a buffer of 64 KiB. A failure throws the engine away; the
// next run begins with a new discovery.
type snmpClient struct {
	addr    netip.AddrPort
	way     way
	spec    core.SNMPSpec
	timeout time.Duration // of a whole run

	engine *snmpEngine // nil for v2c, and before the first v3 answer
	conn   *agentConn  // of the latest run
}

// An snmpEngine is what gosnmp learns about a v3 agent.
type snmpEngine struct {
	security  gosnmp.SnmpV3SecurityParameters
	contextID string
}

// handles are gosnmp handles between two runs. One is used by one run at a
// time, and holds nothing of the run before.
var handles sync.Pool

var authProtocols = map[string]gosnmp.SnmpV3AuthProtocol{
	"MD5": gosnmp.MD5, "SHA": gosnmp.SHA, "SHA224": gosnmp.SHA224,
	"SHA256": gosnmp.SHA256, "SHA384": gosnmp.SHA384, "SHA512": gosnmp.SHA512,
}

// The plain names extend keys as Blumenthal does, the C ones as Reeder and
// Cisco do.
var privProtocols = map[string]gosnmp.SnmpV3PrivProtocol{
	"DES": gosnmp.DES, "AES": gosnmp.AES, "AES192": gosnmp.AES192,
	"AES256": gosnmp.AES256, "AES192C": gosnmp.AES192C, "AES256C": gosnmp.AES256C,
}

// check says what in the spec makes every run impossible.
func (c *snmpClient) check() error {
	s := c.spec
	switch {
	case s.Version == "2c" && s.Community == "":
		return errors.New("SNMP v2c needs a community")
	case s.Version == "2c":
		return nil
	case s.Version != "3":
		return fmt.Errorf("SNMP version %q: want 2c or 3", s.Version)
	case s.User == "" || s.AuthPassword == "":
		return errors.New("SNMP v3 needs a user and an auth password")
	case s.AuthProtocol != "" && authProtocols[s.AuthProtocol] == 0:
		return fmt.Errorf("SNMP auth protocol %q is not known", s.AuthProtocol)
	case s.PrivProtocol != "" && privProtocols[s.PrivProtocol] == 0:
		return fmt.Errorf("SNMP privacy protocol %q is not known", s.PrivProtocol)
	case s.PrivProtocol != "" && s.PrivPassword == "":
		return fmt.Errorf("SNMP privacy protocol %s needs a password", s.PrivProtocol)
	}
	return nil
}

// handle returns a gosnmp handle for one run.
func (c *snmpClient) handle() (*gosnmp.GoSNMP, error) {
	g, ok := handles.Get().(*gosnmp.GoSNMP)
	if !ok || c.spec.Version == "3" && c.engine == nil {
		g = &gosnmp.GoSNMP{Target: "127.0.0.1", UseUnconnectedUDPSocket: true}
		c.configure(g)
		// Connect sends nothing, and its socket is not the one we use; but only
		// it makes the buffer and the salts of v3.
		if err := g.Connect(); err != nil {
			return nil, err
		}
		return g, g.Close()
	}
	c.configure(g)
	return g, nil
}

func (c *snmpClient) configure(g *gosnmp.GoSNMP) {
	// Two tries end before the run's own deadline does.
	g.Timeout, g.Retries = c.timeout*9/20, 1
	if c.spec.Version == "3" {
		c.secure(g)
		return
	}
	g.Version, g.Community = gosnmp.Version2c, c.spec.Community.Reveal()
}

// release puts a handle back without anything of this target in it.
func release(g *gosnmp.GoSNMP) {
	g.Conn, g.Context, g.Community = nil, nil, ""
	g.SecurityParameters, g.ContextName, g.ContextEngineID = nil, "", ""
	handles.Put(g)
}

// secure sets the v3 user. Without a privacy password messages are signed only.
func (c *snmpClient) secure(g *gosnmp.GoSNMP) {
	g.Version = gosnmp.Version3
	g.SecurityModel = gosnmp.UserSecurityModel
	g.MsgFlags = gosnmp.AuthNoPriv | gosnmp.Reportable
	if c.spec.PrivPassword != "" {
		g.MsgFlags |= gosnmp.AuthPriv
	}
	g.ContextName = c.spec.Context
	if c.engine != nil {
		g.SecurityParameters, g.ContextEngineID = c.engine.security, c.engine.contextID
		return
	}
	usm := &gosnmp.UsmSecurityParameters{
		UserName:                 c.spec.User,
		AuthenticationProtocol:   authProtocols[cmp.Or(c.spec.AuthProtocol, "SHA256")],
		AuthenticationPassphrase: c.spec.AuthPassword.Reveal(),
		PrivacyProtocol:          gosnmp.NoPriv,
	}
	if c.spec.PrivPassword != "" {
		usm.PrivacyProtocol = privProtocols[cmp.Or(c.spec.PrivProtocol, "AES")]
		usm.PrivacyPassphrase = c.spec.PrivPassword.Reveal()
	}
	g.SecurityParameters = usm
}

// get asks for the objects.
//
// An agent that came back with another engine refuses what was made for the
// one before, in a report that it cannot sign. So a refusal of an old engine is
// followed by one try with a new discovery.
func (c *snmpClient) get(ctx context.Context, oids []string) ([]gosnmp.SnmpPDU, error) {
	old := c.engine != nil
	vars, err := c.try(ctx, oids)
	if err != nil && old && err.answered && ctx.Err() == nil {
		vars, err = c.try(ctx, oids)
	}
	if err != nil {
		return nil, err // not without the test: a nil *snmpError is no nil error
	}
	return vars, nil
}

// try asks once, retries on silence included.
func (c *snmpClient) try(ctx context.Context, oids []string) ([]gosnmp.SnmpPDU, *snmpError) {
	conn, err := openAgentConn(ctx, c.way, c.addr)
	if err != nil {
		return nil, &snmpError{code: core.Internal, text: fmt.Sprintf("open a socket for SNMP: %v", err)}
	}
	defer conn.Close() //nolint:errcheck // nothing is written that could be lost
	g, err := c.handle()
	if err != nil {
		return nil, &snmpError{code: core.Internal, text: fmt.Sprintf("prepare SNMP: %v", err)}
	}
	defer release(g)
	// gosnmp looks at ctx between two tries only; a closed socket wakes it.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	c.conn, g.Conn, g.Context = conn, conn, ctx
	packet, err := g.Get(oids)
	if err != nil || packet.PDUType == gosnmp.Report || packet.Error != gosnmp.NoError {
		c.engine = nil // whatever state it is in
		return nil, c.explain(ctx, packet, err)
	}
	if c.spec.Version == "3" && c.engine == nil {
		c.engine = &snmpEngine{g.SecurityParameters, g.ContextEngineID}
	}
	return packet.Variables, nil
}
