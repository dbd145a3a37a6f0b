// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// oddAgent answers every question with the packets that answer makes of it, as no
// agent should.
func oddAgent(t *testing.T, answer func(q *gosnmp.SnmpPacket) []*gosnmp.SnmpPacket) snmpClient {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-ended })
	go func() {
		defer close(ended)
		for buf := make([]byte, 64<<10); ; {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			q, err := codec(gosnmp.Version2c).SnmpDecodePacket(buf[:n])
			if err != nil {
				t.Errorf("question: %v", err)
				return
			}
			for _, a := range answer(q) {
				a.Version, a.Community, a.PDUType = q.Version, q.Community, gosnmp.GetResponse
				packet, err := a.MarshalMsg()
				if err != nil {
					t.Errorf("answer: %v", err)
				}
				_, _ = conn.WriteTo(packet, from)
			}
		}
	}()
	c, err := newSNMPClient(snmpTarget(netip.MustParseAddrPort(conn.LocalAddr().String())))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func shortly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), ample)
	t.Cleanup(cancel)
	return ctx
}

func wantError(t *testing.T, err error, code core.Code, text string) {
	t.Helper()
	if r := failed(err); err == nil || r.code != code || !strings.Contains(r.detail, text) {
		t.Errorf("got %v, want %s with %q", err, code, text)
	}
}

func one(vars []gosnmp.SnmpPDU, q *gosnmp.SnmpPacket) []*gosnmp.SnmpPacket {
	return []*gosnmp.SnmpPacket{{RequestID: q.RequestID, Variables: vars}}
}

func TestSNMPWalks(t *testing.T) {
	rows := func(from, to int) (vars []gosnmp.SnmpPDU) {
		for i := from; i < to; i++ {
			vars = append(vars, gosnmp.SnmpPDU{Name: fmt.Sprintf(".1.3.6.1.%d", i), Type: gosnmp.Integer, Value: i})
		}
		return vars
	}
	next := func(q *gosnmp.SnmpPacket) int {
		n := 0
		_, _ = fmt.Sscanf(q.Variables[0].Name, ".1.3.6.1.%d", &n) // stays 0 at the root
		return n + 1
	}
	long := oddAgent(t, func(q *gosnmp.SnmpPacket) []*gosnmp.SnmpPacket {
		n := next(q)
		if end := 90; n+bulkRows > end {
			return one(append(rows(n, end), gosnmp.SnmpPDU{Name: ".1.3.6.2.1", Type: gosnmp.Integer, Value: 1}), q)
		}
		return one(rows(n, n+bulkRows), q)
	})
	if got, err := long.walk(shortly(t), "1.3.6.1"); err != nil || len(got) != 89 {
		t.Errorf("%d rows, %v; want 89", len(got), err)
	}
	endless := oddAgent(t, func(q *gosnmp.SnmpPacket) []*gosnmp.SnmpPacket { n := next(q); return one(rows(n, n+50), q) })
	_, err := endless.walk(shortly(t), ".1.3.6.1")
	wantError(t, err, core.SNMPValue, "more than 1000 rows below .1.3.6.1")
	circle := oddAgent(t, func(q *gosnmp.SnmpPacket) []*gosnmp.SnmpPacket { return one(rows(3, 5), q) })
	_, err = circle.walk(shortly(t), ".1.3.6.1")
	wantError(t, err, core.SNMPValue, "in a circle")
	empty := oddAgent(t, func(q *gosnmp.SnmpPacket) []*gosnmp.SnmpPacket { return one(nil, q) })
	if got, err := empty.walk(shortly(t), ".1.3.6.1"); err != nil || len(got) > 0 {
		t.Errorf("got %v, %v of an empty answer", got, err)
	}
}

// TestSNMPOddAnswers: late answers and those to others are not taken, and errors are
// told.
// TestSNMPWalkKeepsLittle: rows of long texts must not add up to megabytes a target.
func TestSNMPWalkKeepsLittle(t *testing.T) {
	n := 0
	texts := oddAgent(t, func(q *gosnmp.SnmpPacket) []*gosnmp.SnmpPacket {
		v := gosnmp.SnmpPDU{Name: fmt.Sprintf(".1.3.6.1.%d", n), Type: gosnmp.OctetString, Value: bytes.Repeat([]byte("7"), 8000)}
		if n++; n == 100 {
			v.Name = ".1.3.7"
		}
		return one([]gosnmp.SnmpPDU{v}, q)
	})
	rows, err := texts.walk(shortly(t), ".1.3.6.1")
	if err != nil || len(rows) != 99 {
		t.Fatalf("%d rows, %v; want 99", len(rows), err)
	}
	kept := 0
	for _, v := range rows {
		kept += cap(v.Value.([]byte))
	}
	if kept > 99*2*maxNumberText {
		t.Errorf("%d bytes of text are kept of 99 rows", kept)
	}
}

func TestSNMPOddAnswers(t *testing.T) {
	good := []gosnmp.SnmpPDU{{Name: ".1.3.6.1.7", Type: gosnmp.Integer, Value: 7}}
	wrong := []gosnmp.SnmpPDU{{Name: ".1.3.6.1.7", Type: gosnmp.Integer, Value: 8}}
	late := oddAgent(t, func(q *gosnmp.SnmpPacket) []*gosnmp.SnmpPacket {
		return []*gosnmp.SnmpPacket{{RequestID: q.RequestID - 1, Variables: wrong}, {RequestID: q.RequestID, Variables: good}}
	})
	if got, err := late.get(shortly(t), []string{".1.3.6.1.7"}); err != nil || got[0].Value != 7 {
		t.Errorf("got %v, %v after an answer to another question", got, err)
	}
	for _, tt := range []struct {
		status gosnmp.SNMPError
		code   core.Code
		text   string
	}{
		{gosnmp.AuthorizationError, core.SNMPAuth, "does not let this user or community read"},
		{gosnmp.NoAccess, core.SNMPAuth, "NoAccess"},
		{gosnmp.ResourceUnavailable, core.SNMPValue, "ResourceUnavailable"},
		{gosnmp.GenErr, core.SNMPValue, "GenErr"}, // at no object
		{gosnmp.TooBig, core.SNMPValue, "TooBig"}, // for one object
	} {
		c := oddAgent(t, func(q *gosnmp.SnmpPacket) []*gosnmp.SnmpPacket {
			return []*gosnmp.SnmpPacket{{RequestID: q.RequestID, Error: tt.status, Variables: q.Variables}}
		})
		_, err := c.get(shortly(t), []string{".1.3.6.1.7"})
		wantError(t, err, tt.code, tt.text)
	}
	few := oddAgent(t, func(q *gosnmp.SnmpPacket) []*gosnmp.SnmpPacket { return one(good, q) })
	_, err := few.get(shortly(t), []string{".1.3.6.1.7", ".1.3.6.1.8"})
	wantError(t, err, core.SNMPValue, "with 1 objects to a question for 2")
	other := oddAgent(t, func(q *gosnmp.SnmpPacket) []*gosnmp.SnmpPacket {
		q.Community = "somebody's"
		return one(good, q)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // it waits for another one
	defer cancel()
	_, err = other.get(ctx, []string{".1.3.6.1.7"})
	wantError(t, err, core.SNMPValue, "is no answer of an SNMP v2c agent")
}

// TestSNMPHalves: what is too long for an agent is asked for in parts. Our own agent
// takes 64 objects.
func TestSNMPHalves(t *testing.T) {
	addr := startAgent(t, "127.0.0.1:0", probestest.CPU{User: 1, Idle: 1}.Objects)
	c, err := newSNMPClient(snmpTarget(addr))
	if err != nil {
		t.Fatal(err)
	}
	oids := make([]string, 150)
	for i := range oids {
		oids[i] = cpuOIDs[i%len(cpuOIDs)]
	}
	vars, err := c.getSome(shortly(t), oids)
	if err != nil || len(vars) != len(oids) {
		t.Fatalf("%d objects of %d, %v", len(vars), len(oids), err)
	}
	for i, v := range vars {
		if v.Name != oids[i] {
			t.Errorf("object %d is %s, want %s", i, v.Name, oids[i])
		}
	}
}
