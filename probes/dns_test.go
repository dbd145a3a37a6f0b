// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// dnsReply makes an answer of a question, which change may spoil.
func dnsReply(t *testing.T, question []byte, change func(*dns.Msg)) []byte {
	t.Helper()
	var ask dns.Msg
	if err := ask.Unpack(question); err != nil {
		t.Errorf("the question: %v", err)
		return nil
	}
	answer := new(dns.Msg).SetReply(&ask)
	if change != nil {
		change(answer)
	}
	raw, err := answer.Pack()
	if err != nil {
		t.Errorf("the answer: %v", err)
	}
	return raw
}

func TestDNSOddServers(t *testing.T) {
	otherQuestion := func(m *dns.Msg) { m.Question[0].Name = "evil.example." }
	answers := map[string]struct {
		reply  func([]byte) []byte
		ok     bool
		code   core.Code
		detail string
	}{
		"plain":          {func(q []byte) []byte { return dnsReply(t, q, nil) }, true, core.DNSOK, "NOERROR, 0 records"},
		"other case":     {func(q []byte) []byte { return dnsReply(t, q, func(m *dns.Msg) { m.Question[0].Name = "Example.ORG." }) }, true, core.DNSOK, "NOERROR"},
		"silent":         {func([]byte) []byte { return nil }, false, core.L7Timeout, "no answer came"},
		"other id":       {func(q []byte) []byte { return dnsReply(t, q, func(m *dns.Msg) { m.Id++ }) }, false, core.L7Timeout, "no answer came"},
		"other question": {func(q []byte) []byte { return dnsReply(t, q, otherQuestion) }, false, core.L7Timeout, "no answer came"},
		"echo":           {func(q []byte) []byte { return slices.Clone(q) }, false, core.L7Timeout, "no answer came"},
		"too short":      {func(q []byte) []byte { return q[:2] }, false, core.L7Timeout, "no answer came"},
		"garbage":        {func(q []byte) []byte { return append(append(slices.Clone(q[:2]), 0x80), make([]byte, 9)...)[:12:12] }, false, core.L7Timeout, ""},
		"cut": {func(q []byte) []byte {
			b := dnsReply(t, q, nil)
			return b[:len(b)-3]
		}, false, core.L7Response, "no DNS message"},
		"no question": {func(q []byte) []byte {
			return dnsReply(t, q, func(m *dns.Msg) { m.Question, m.Rcode = nil, dns.RcodeFormatError })
		}, false, core.DNSRCode, "too old for EDNS"},
		"unknown rcode": {func(q []byte) []byte { return dnsReply(t, q, func(m *dns.Msg) { m.Rcode = 13 }) }, false, core.DNSRCode, "RCODE13"},
		"truncated, and no TCP": {func(q []byte) []byte {
			return dnsReply(t, q, func(m *dns.Msg) { m.Truncated = true })
		}, false, core.L4Refused, "truncated over UDP, then over TCP: "},
	}
	for name, tt := range answers {
		t.Run(name, func(t *testing.T) {
			target := dnsTarget(udpServer(t, tt.reply), core.DNSSpec{Question: "example.org"})
			if tt.code == core.L7Timeout {
				target.Spec.Timeout = brief
			}
			wantCode(t, ask(t, target), tt.ok, tt.code, tt.detail)
		})
	}
}

// TestDNSStray: answers to somebody else's question do not hide ours, unless there is no end to them.
func TestDNSStray(t *testing.T) {
	for stray, code := range map[int]core.Code{3: core.DNSOK, maxStray + 1: core.L7Response} {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			buf := make([]byte, 2048)
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			for i := range stray {
				_, _ = conn.WriteTo(dnsReply(t, buf[:n], func(m *dns.Msg) { m.Id += uint16(i + 1) }), from)
			}
			_, _ = conn.WriteTo(dnsReply(t, buf[:n], nil), from)
		}()
		s := ask(t, dnsTarget(netip.MustParseAddrPort(conn.LocalAddr().String()), core.DNSSpec{}))
		wantCode(t, s, code == core.DNSOK, code, "")
		_ = conn.Close()
	}
}

func TestDNSOverTCPOddServers(t *testing.T) {
	framed := func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
	for name, tt := range map[string]struct {
		reply  func([]byte) []byte
		code   core.Code
		detail string
	}{
		"plain":          {func(q []byte) []byte { return framed(dnsReply(t, q, nil)) }, core.DNSOK, "NOERROR"},
		"other id":       {func(q []byte) []byte { return framed(dnsReply(t, q, func(m *dns.Msg) { m.Id++ })) }, core.L7Response, "its id is"},
		"closes":         {func([]byte) []byte { return nil }, core.L7Response, "without a whole answer"},
		"cut":            {func(q []byte) []byte { return framed(dnsReply(t, q, nil))[:9] }, core.L7Response, "without a whole answer"},
		"speaks HTTP":    {func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }, core.L7Response, "without a whole answer"},
		"empty message":  {func([]byte) []byte { return []byte{0, 0} }, core.L7Response, "less than a header"},
		"still too long": {func(q []byte) []byte { return framed(dnsReply(t, q, func(m *dns.Msg) { m.Truncated = true })) }, core.DNSOK, "NOERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close() //nolint:errcheck // the test is over
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close() //nolint:errcheck // it has answered
				var size [2]byte
				if _, err := io.ReadFull(c, size[:]); err != nil {
					return
				}
				q := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, q); err == nil {
					_, _ = c.Write(tt.reply(q))
				}
			}()
			target := dnsTarget(netip.MustParseAddrPort(l.Addr().String()), core.DNSSpec{TCP: true})
			wantCode(t, ask(t, target), tt.code == core.DNSOK, tt.code, tt.detail)
		})
	}
}

func TestDNSNoServer(t *testing.T) {
	mute := dnsTarget(probestest.Mute(t), core.DNSSpec{TCP: true})
	mute.Spec.Timeout = brief
	wantCode(t, ask(t, mute), false, core.L7Timeout, "no whole answer")
	wantCode(t, ask(t, dnsTarget(closedUDP(t), core.DNSSpec{})), false, core.L4Refused, "nothing listens")
	wantCode(t, ask(t, dnsTarget(probestest.Refused(t), core.DNSSpec{TCP: true})), false, core.L4Refused, "refused")
}

func TestDNSBadSpec(t *testing.T) {
	for wrong, spec := range map[string]core.DNSSpec{
		`"NAME"`: {Record: "name"},
		`"OOPS"`: {RCodes: []string{"OOPS"}},
		"expect": {Expect: "("},
		"a..b":   {Question: "a..b"},
	} {
		s := ask(t, dnsTarget(netip.MustParseAddrPort("127.0.0.1:53"), spec))
		if s.OK || s.Code != core.Internal || !strings.Contains(strings.ToLower(s.Detail), strings.ToLower(wrong)) {
			t.Errorf("%s: %s %q", wrong, s.Code, s.Detail)
		}
	}
}

// TestDNSQuestion: what goes out is one question with EDNS, and an id that changes.
func TestDNSQuestion(t *testing.T) {
	p, ok := newDNS(dnsTarget(netip.AddrPort{}, core.DNSSpec{Question: "example.org", Record: "AAAA", NoRecurse: true})).(*dnsProbe)
	if !ok {
		t.Fatal("no prober")
	}
	ids := make(map[uint16]bool)
	for range 64 {
		id, raw := p.fresh(0)
		ids[id] = true
		var msg dns.Msg
		if err := msg.Unpack(raw); err != nil {
			t.Fatal(err)
		}
		edns := msg.IsEdns0()
		if msg.Id != id || msg.RecursionDesired || edns == nil || edns.UDPSize() != ednsSize || len(msg.Question) != 1 || msg.Question[0].String() != p.ask.String() {
			t.Fatalf("got %v", &msg)
		}
	}
	if len(ids) < 48 {
		t.Errorf("%d ids in 64 runs", len(ids))
	}
}

func FuzzDNSReply(f *testing.F) {
	spec := core.DNSSpec{Question: "example.org", Record: "SOA", Answers: 1, Expect: "ns1", RCodes: []string{"NOERROR", "NXDOMAIN"}}
	p, ok := newDNS(dnsTarget(netip.AddrPort{}, spec)).(*dnsProbe)
	if !ok {
		f.Fatal("no prober")
	}
	var ask dns.Msg
	if err := ask.Unpack(p.query); err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{"example.org. 60 IN SOA ns1.example.org. a.example.org. 1 2 3 4 5", "example.org. 60 IN CNAME x.org.", `example.org. TXT "a" "\000\255"`} {
		rr, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		answer := new(dns.Msg).SetReply(&ask)
		answer.Answer, answer.Compress = []dns.RR{rr, rr}, true
		answer.SetEdns0(1232, false)
		raw, err := answer.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0x80, 5, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		msg, err := p.read(raw, 0)
		if err != nil {
			return
		}
		r := p.judge(msg, time.Millisecond)
		if !r.code.Known() || r.ok != (r.code == core.DNSOK) || r.ok != (len(r.metrics) > 0) || r.detail == "" {
			t.Errorf("%+v of %v", r, msg)
		}
		if r.ok && !slices.Contains([]int{dns.RcodeSuccess, dns.RcodeNameError}, msg.Rcode) {
			t.Errorf("%d is good", msg.Rcode)
		}
		for _, m := range r.metrics {
			if m.Value < 0 || m.Value > 1<<32 {
				t.Errorf("%+v", m)
			}
		}
	})
}
