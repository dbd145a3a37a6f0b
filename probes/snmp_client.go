// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// maxAsked is how many objects one question asks for: their answer fits into a
	// datagram that no network cuts up, unless they are texts.
	maxAsked = 60
	// maxRows bounds a walk.
	maxRows = 1000
	// bulkRows is how many rows one question of a walk asks for; snmp_exporter's choice.
	bulkRows = 25
)

// An snmpClient asks one agent. Between runs it keeps the engine and the keys of a
// v3 agent, and nothing else.
type snmpClient struct {
	addr   netip.AddrPort
	spec   *core.ProbeSpec // shared, never changed
	engine *snmpEngine     // nil for v1 and v2c, and before the first v3 answer
	heard  bool            // the run in progress got some answer
}

func newSNMPClient(t Target) (snmpClient, error) {
	c := snmpClient{addr: netip.AddrPortFrom(t.Addr.Addr(), cmp.Or(t.Spec.Port, defaultSNMPPort)), spec: t.Spec}
	return c, c.check()
}

// check says what in the spec makes every run impossible.
func (c *snmpClient) check() error {
	s := c.spec.SNMP
	switch {
	case (s.Version == "1" || s.Version == "2c") && s.Community == "":
		return fmt.Errorf("SNMP v%s needs a community", s.Version)
	case s.Version == "1" || s.Version == "2c":
		return nil
	case s.Version != "3":
		return fmt.Errorf("SNMP version %q: want 1, 2c or 3", s.Version)
	}
	return checkUser(&s)
}

func (c *snmpClient) timeout() time.Duration { return cmp.Or(c.spec.Timeout, defaultTimeout) }

// who is the agent and the version, for the trace.
func (c *snmpClient) who() string {
	who := fmt.Sprintf("%s v%s", c.addr, c.spec.SNMP.Version)
	if c.spec.SNMP.Version == "3" {
		who += fmt.Sprintf(" user %q", c.spec.SNMP.User)
	}
	return who
}

// get asks for objects, in as many questions as it takes. The answer has one
// variable for each, in their order; those that the agent does not have are of a
// type that is no value.
func (c *snmpClient) get(ctx context.Context, oids []string) ([]gosnmp.SnmpPDU, error) {
	if len(oids) <= maxAsked {
		return c.getSome(ctx, oids)
	}
	vars := make([]gosnmp.SnmpPDU, 0, len(oids))
	for some := range slices.Chunk(oids, maxAsked) {
		got, err := c.getSome(ctx, some)
		if err != nil {
			return nil, err
		}
		vars = append(vars, got...)
	}
	return vars, nil
}

// getSome asks one question. An agent of version 1 refuses the whole of it because
// of one object that it does not have, and agents of any version may fail at one,
// so that one is left out and the rest asked for again. An answer too long for a datagram is asked for in halves.
func (c *snmpClient) getSome(ctx context.Context, oids []string) ([]gosnmp.SnmpPDU, error) {
	r, err := c.ask(ctx, gosnmp.GetRequest, oids)
	switch {
	case err != nil:
		return nil, err
	case r.status == gosnmp.NoError && len(r.vars) == len(oids):
		return r.vars, nil
	case r.status == gosnmp.NoError:
		return nil, c.fail(core.SNMPValue, "agent %s answered with %d objects to a question for %d", c.addr, len(r.vars), len(oids))
	case r.status == gosnmp.TooBig && len(oids) > 1:
		return c.halves(ctx, oids)
	case (r.status == gosnmp.NoSuchName || r.status == gosnmp.GenErr) && r.index >= 1 && r.index <= len(oids):
		return c.without(ctx, oids, r)
	}
	return nil, c.refusal(r.status)
}

func (c *snmpClient) halves(ctx context.Context, oids []string) ([]gosnmp.SnmpPDU, error) {
	note(ctx, "answer", "too long for the agent; asking for half of it")
	first, err := c.getSome(ctx, oids[:len(oids)/2])
	if err != nil {
		return nil, err
	}
	second, err := c.getSome(ctx, oids[len(oids)/2:])
	return append(slices.Clip(first), second...), err
}

// without asks again for all but the object that the agent failed at.
func (c *snmpClient) without(ctx context.Context, oids []string, r reply) ([]gosnmp.SnmpPDU, error) {
	i := r.index - 1
	note(ctx, "answer", "%s at %s; asking for the rest", r.status, oids[i])
	var vars []gosnmp.SnmpPDU
	if len(oids) > 1 {
		var err error
		if vars, err = c.getSome(ctx, slices.Delete(slices.Clone(oids), i, i+1)); err != nil {
			return nil, err
		}
	}
	return slices.Insert(vars, i, gosnmp.SnmpPDU{Name: oids[i], Type: gosnmp.NoSuchObject}), nil
}

// walk reads the rows below root, maxRows of them at most.
func (c *snmpClient) walk(ctx context.Context, root string) ([]gosnmp.SnmpPDU, error) {
	kind, below := gosnmp.GetBulkRequest, "."+strings.Trim(root, ".")+"."
	if c.spec.SNMP.Version == "1" {
		kind = gosnmp.GetNextRequest
	}
	var rows []gosnmp.SnmpPDU
	for last := strings.TrimSuffix(below, "."); ; {
		r, err := c.ask(ctx, kind, []string{last})
		if err != nil {
			return nil, err
		}
		if r.status == gosnmp.NoSuchName { // how an agent of version 1 says that there is no more
			return rows, nil
		}
		if r.status != gosnmp.NoError {
			return nil, c.refusal(r.status)
		}
		if len(r.vars) == 0 {
			return rows, nil
		}
		for _, v := range r.vars {
			v.Name = "." + strings.TrimPrefix(v.Name, ".")
			switch {
			case v.Type == gosnmp.EndOfMibView || !strings.HasPrefix(v.Name, below):
				return rows, nil
			case !oidLess(last, v.Name):
				return nil, c.fail(core.SNMPValue, "agent %s walks in a circle at %s", c.addr, v.Name)
			case len(rows) == maxRows:
				return nil, c.fail(core.SNMPValue, "agent %s has more than %d rows below %s: name a smaller table", c.addr, maxRows, root)
			}
			rows, last = append(rows, curtailed(v)), v.Name
		}
	}
}

// curtailed is a row that keeps no more of a text than can be a number: there may be
// maxRows of them, of a datagram each.
func curtailed(v gosnmp.SnmpPDU) gosnmp.SnmpPDU {
	if text, ok := v.Value.([]byte); ok && len(text) > maxNumberText {
		v.Value = bytes.Clone(text[:maxNumberText])
	}
	return v
}

// ask sends one question and returns the answer to it, an error status included.
func (c *snmpClient) ask(ctx context.Context, kind gosnmp.PDUType, oids []string) (reply, error) {
	c.heard = false
	if watched(ctx) {
		first := oids[0]
		if len(oids) > 1 {
			first += fmt.Sprintf(" and %d more", len(oids)-1)
		}
		note(ctx, "ask", "%s of %s from %s", kindText(kind), first, c.who())
	}
	if c.spec.SNMP.Version == "3" {
		return c.askUser(ctx, kind, oids)
	}
	return c.askCommunity(ctx, kind, oids)
}

func kindText(kind gosnmp.PDUType) string {
	switch kind {
	case gosnmp.GetBulkRequest:
		return "GETBULK"
	case gosnmp.GetNextRequest:
		return "GETNEXT"
	}
	return "GET"
}

// questions are buffers of runs.
var questions = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// newRequestID is four bytes long in its encoding, which is as short as it can be,
// and nobody who does not see the question can guess it.
func newRequestID() uint32 { return 1<<24 | rand.Uint32()>>1 }

// askCommunity asks with version 1 or 2c.
func (c *snmpClient) askCommunity(ctx context.Context, kind gosnmp.PDUType, oids []string) (reply, error) {
	r := request{
		version: gosnmp.Version2c, community: c.spec.SNMP.Community.Reveal(),
		kind: kind, id: newRequestID(), oids: oids,
	}
	if c.spec.SNMP.Version == "1" {
		r.version = gosnmp.Version1
	}
	if kind == gosnmp.GetBulkRequest {
		r.rows = bulkRows
	}
	b := questions.Get().(*[]byte)
	defer questions.Put(b)
	question, err := r.appendTo((*b)[:0])
	if err != nil {
		return reply{}, c.fail(core.Internal, "%v", err)
	}
	*b = question // it may have grown
	var got reply
	odd := 0
	e := agentCall{to: c.addr, way: way(c.spec.Way), timeout: c.timeout()}
	done, err := e.ask(ctx, question, func(datagram []byte) bool {
		c.heard = true
		var bad error
		got, bad = decodeReply(datagram, r.version, r.community, oids)
		if bad != nil {
			odd++
		}
		return bad == nil && got.id == r.id
	})
	if err != nil {
		return reply{}, c.explain(ctx, err, 0, odd)
	}
	if watched(ctx) {
		c.noteAnswer(ctx, done, got)
	}
	return got, nil
}

func (c *snmpClient) noteAnswer(ctx context.Context, done answered, r reply) {
	text := fmt.Sprintf("%d objects in %s", len(r.vars), short(done.took))
	if r.status != gosnmp.NoError {
		text = fmt.Sprintf("error %s at object %d in %s", r.status, r.index, short(done.took))
	}
	if from := done.from.Addr().Unmap(); from != c.addr.Addr().Unmap() {
		text += fmt.Sprintf(", from its other address %s", from)
	}
	if done.tries > 1 {
		text += ", at the second try"
	}
	note(ctx, "answer", "%s", text)
}

// number reads an integer of any SNMP type; ok is false for an object that the
// agent does not have.
func number(v gosnmp.SnmpPDU) (n uint64, ok bool, err error) {
	if absent(v) {
		return 0, false, nil
	}
	switch v.Type {
	case gosnmp.Counter32, gosnmp.Counter64, gosnmp.Gauge32, gosnmp.Integer, gosnmp.TimeTicks, gosnmp.Uinteger32:
		switch x := v.Value.(type) {
		case uint:
			return uint64(x), true, nil
		case uint32:
			return uint64(x), true, nil
		case uint64:
			return x, true, nil
		case int:
			if x >= 0 {
				return uint64(x), true, nil
			}
		}
	}
	return 0, false, fmt.Errorf("the agent answered %s with a %s that is no counter", v.Name, v.Type)
}

// absent reports that the agent does not have the object, or does not show it.
func absent(v gosnmp.SnmpPDU) bool {
	switch v.Type {
	case gosnmp.NoSuchObject, gosnmp.NoSuchInstance, gosnmp.EndOfMibView, gosnmp.Null:
		return true
	}
	return false
}

// oidLess orders OIDs arc by arc: .1.9 comes before .1.10.
func oidLess(a, b string) bool {
	for a != "" && b != "" {
		var x, y string
		x, a, _ = strings.Cut(strings.TrimPrefix(a, "."), ".")
		y, b, _ = strings.Cut(strings.TrimPrefix(b, "."), ".")
		if x != y {
			return len(x) < len(y) || len(x) == len(y) && x < y // no arc begins with a 0
		}
	}
	return a == "" && b != ""
}

// failed makes the result of a run that an error ended.
func failed(err error) result {
	var e *snmpError
	if errors.As(err, &e) {
		return result{code: e.code, detail: e.text}
	}
	return bad(core.Internal, "ask agent: %v", err)
}

// watched reports whether somebody watches the run, for texts that are dear.
func watched(ctx context.Context) bool { return ctx.Value(traceKey{}) != nil }
