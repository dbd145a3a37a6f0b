// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/steelyard-lb/steelyard/core"
)

// This file asks with version 3. Each run has a socket of its own, so no answer can
// come too late, and a gosnmp handle that is borrowed, because every handle holds a
// buffer of 64 KiB. A failure throws the engine away; the next run begins with a
// new discovery.

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

func checkUser(s *core.SNMPSpec) error {
	switch {
	case s.User == "":
		return errors.New("SNMP v3 needs a user")
	case s.AuthPassword == "" && s.PrivPassword != "":
		return errors.New("SNMP v3 encrypts only what it authenticates: it needs an auth password, too")
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
	if !ok || c.engine == nil {
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

// release puts a handle back without anything of this target in it.
func release(g *gosnmp.GoSNMP) {
	g.Conn, g.Context = nil, nil
	g.SecurityParameters, g.ContextName, g.ContextEngineID = nil, "", ""
	handles.Put(g)
}

// configure sets the user. Without a privacy password messages are signed only, and
// without any password not even that.
func (c *snmpClient) configure(g *gosnmp.GoSNMP) {
	spec := &c.spec.SNMP
	// Two tries end before the run's own deadline does.
	g.Timeout, g.Retries = c.timeout()*9/20, 1
	g.Version = gosnmp.Version3
	g.SecurityModel = gosnmp.UserSecurityModel
	g.MsgFlags = gosnmp.NoAuthNoPriv | gosnmp.Reportable
	if spec.AuthPassword != "" {
		g.MsgFlags |= gosnmp.AuthNoPriv
	}
	if spec.PrivPassword != "" {
		g.MsgFlags |= gosnmp.AuthPriv
	}
	g.ContextName = spec.Context
	if c.engine != nil {
		g.SecurityParameters, g.ContextEngineID = c.engine.security, c.engine.contextID
		return
	}
	usm := &gosnmp.UsmSecurityParameters{
		UserName:               spec.User,
		AuthenticationProtocol: gosnmp.NoAuth,
		PrivacyProtocol:        gosnmp.NoPriv,
	}
	if spec.AuthPassword != "" {
		usm.AuthenticationProtocol = authProtocols[cmp.Or(spec.AuthProtocol, "SHA256")]
		usm.AuthenticationPassphrase = spec.AuthPassword.Reveal()
	}
	if spec.PrivPassword != "" {
		usm.PrivacyProtocol = privProtocols[cmp.Or(spec.PrivProtocol, "AES")]
		usm.PrivacyPassphrase = spec.PrivPassword.Reveal()
	}
	g.SecurityParameters = usm
}

// askUser asks with version 3.
//
// An agent that came back with another engine refuses what was made for the
// one before, in a report that it cannot sign. So a refusal of an old engine is
// followed by one try with a new discovery.
func (c *snmpClient) askUser(ctx context.Context, kind gosnmp.PDUType, oids []string) (reply, error) {
	old := c.engine != nil
	if !old {
		note(ctx, "ask", "the agent's engine first: its id, boots and time")
	}
	r, err := c.tryUser(ctx, kind, oids)
	if err != nil && old && c.heard && ctx.Err() == nil {
		note(ctx, "answer", "%v; once more with a new discovery", err)
		r, err = c.tryUser(ctx, kind, oids)
	}
	return r, err
}

// tryUser asks once, retries on silence included.
func (c *snmpClient) tryUser(ctx context.Context, kind gosnmp.PDUType, oids []string) (reply, error) {
	conn, err := openAgentConn(ctx, way(c.spec.Way), c.addr)
	if err != nil {
		return reply{}, c.fail(core.Internal, "open a socket for SNMP: %v", cause(err))
	}
	defer conn.Close() //nolint:errcheck // nothing is written that could be lost
	g, err := c.handle()
	if err != nil {
		return reply{}, c.fail(core.Internal, "prepare SNMP: %v", err)
	}
	defer release(g)
	// gosnmp looks at ctx between two tries only; a closed socket wakes it.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	g.Conn, g.Context = conn, ctx
	start := time.Now()
	packet, err := call(g, kind, oids)
	c.heard = c.heard || conn.heard
	if err != nil || packet.PDUType == gosnmp.Report {
		c.engine = nil // whatever state it is in
		return reply{}, c.explain(ctx, err, conn.refusal, 0)
	}
	if c.engine == nil {
		c.engine = &snmpEngine{g.SecurityParameters, g.ContextEngineID}
		c.noteEngine(ctx)
	}
	r := reply{status: packet.Error, index: int(packet.ErrorIndex), vars: packet.Variables}
	if watched(ctx) {
		c.noteAnswer(ctx, answered{from: conn.from, took: time.Since(start)}, r)
	}
	return r, nil
}

func call(g *gosnmp.GoSNMP, kind gosnmp.PDUType, oids []string) (*gosnmp.SnmpPacket, error) {
	if kind == gosnmp.GetBulkRequest {
		return g.GetBulk(oids, 0, bulkRows)
	}
	return g.Get(oids)
}

func (c *snmpClient) noteEngine(ctx context.Context) {
	if usm, ok := c.engine.security.(*gosnmp.UsmSecurityParameters); ok && watched(ctx) {
		note(ctx, "engine", "%s, boots %d, time %ds", strings.ToUpper(fmt.Sprintf("%x", usm.AuthoritativeEngineID)),
			usm.AuthoritativeEngineBoots, usm.AuthoritativeEngineTime)
	}
}
