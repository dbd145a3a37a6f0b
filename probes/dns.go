// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/steelyard-lb/steelyard/core"
)

// ednsSize is the size of an answer over UDP that gets through everywhere without
// fragments (DNS flag day 2020).
const ednsSize = 1232

// maxStray is how many datagrams that answer something else are passed over in a run.
const maxStray = 64

// dnsProbe asks a name server one question and looks at the answer. An answer that was
// cut to fit a datagram is asked for again over TCP in the same run, as every resolver
// does. A datagram that is lost is not repeated: that is for the next run. Emits
// response_time, answers, and for SOA serial.
type dnsProbe struct {
	addr    netip.AddrPort
	way     way
	tcp     bool
	answers int
	rcodes  []int
	expect  *regexp.Regexp // nil: no such condition
	ask     dns.Question
	query   []byte // packed, with the id 0
}

func newDNS(t Target) prober {
	spec := t.Spec.DNS
	p := &dnsProbe{addr: t.addr(), way: way(t.Spec.Way), tcp: spec.TCP, answers: spec.Answers}
	record := strings.ToUpper(cmp.Or(spec.Record, "SOA"))
	kind, ok := dns.StringToType[record]
	if !ok {
		return impossible(fmt.Sprintf("dns: there is no record type %q", record))
	}
	p.ask = dns.Question{Name: dns.Fqdn(spec.Question), Qtype: kind, Qclass: dns.ClassINET}
	for _, name := range spec.RCodes {
		code, ok := dns.StringToRcode[strings.ToUpper(name)]
		if !ok {
			return impossible(fmt.Sprintf("dns: there is no rcode %q", name))
		}
		p.rcodes = append(p.rcodes, code)
	}
	if len(p.rcodes) == 0 {
		p.rcodes = onlyNoError
	}
	msg := dns.Msg{MsgHdr: dns.MsgHdr{RecursionDesired: !spec.NoRecurse}, Question: []dns.Question{p.ask}}
	msg.SetEdns0(ednsSize, false)
	var err error
	if p.query, err = msg.Pack(); err != nil {
		return impossible(fmt.Sprintf("dns: question %q: %v", spec.Question, err))
	}
	if p.expect, err = expression(spec.Expect); err != nil {
		return impossible(fmt.Sprintf("dns: expect: %v", err))
	}
	return p
}

// onlyNoError is what counts without a list.
var onlyNoError = []int{dns.RcodeSuccess}

func (p *dnsProbe) probe(ctx context.Context) result {
	start := time.Now()
	if p.tcp {
		return p.finish(ctx, start, "", p.overTCP)
	}
	return p.finish(ctx, start, "", p.overUDP)
}

// finish makes a result of an exchange. of says what came before it.
func (p *dnsProbe) finish(ctx context.Context, start time.Time, before string, exchange func(context.Context) (*dns.Msg, result)) result {
	msg, failed := exchange(ctx)
	if msg == nil {
		failed.detail = before + failed.detail
		return failed
	}
	note(ctx, "answer", "%s, answers %d, authority %d, additional %d%s, in %s", rcodeText(msg.Rcode),
		len(msg.Answer), len(msg.Ns), len(msg.Extra), flagText(msg), short(time.Since(start)))
	if msg.Truncated && before == "" && !p.tcp {
		note(ctx, "truncated", "the answer does not fit into a datagram of %d bytes: asking again over TCP", ednsSize)
		return p.finish(ctx, start, "truncated over UDP, then over TCP: ", p.overTCP)
	}
	r := p.judge(msg, time.Since(start))
	for _, m := range r.metrics {
		note(ctx, "metric", "%s", metricText(m))
	}
	r.detail = before + r.detail
	return r
}

// overUDP asks in a datagram. A nil Msg comes with the result that says why.
func (p *dnsProbe) overUDP(ctx context.Context) (*dns.Msg, result) {
	conn, err := dialUDP(ctx, p.way, p.addr)
	if err != nil {
		return nil, badUDP(p.addr, err)
	}
	defer conn.Close() //nolint:errcheck // nothing is left to send
	release := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer release()
	start := time.Now()
	id, query := p.fresh(0)
	note(ctx, "send", "%s to %s over UDP, id %d", p.question(), p.addr, id)
	if _, err := conn.Write(query); err != nil {
		return nil, badUDP(p.addr, err)
	}
	buf := datagrams.Get().(*[maxDatagram]byte)
	defer datagrams.Put(buf)
	for range maxStray {
		n, err := conn.Read(buf[:])
		if err != nil && timedOut(err) {
			return nil, bad(core.L7Timeout, "asked %s for %s, and no answer came in %s", p.addr, p.question(), short(time.Since(start)))
		}
		if err != nil {
			return nil, badUDP(p.addr, err)
		}
		msg, err := p.read(buf[:n], id)
		if err == nil {
			return msg, result{}
		}
		note(ctx, "ignored", "%d bytes: %v", n, err)
		if !errors.Is(err, errNotOurs) {
			return nil, bad(core.L7Response, "answer of %s for %s: %v", p.addr, p.question(), err)
		}
	}
	return nil, bad(core.L7Response, "%d datagrams of %s answer another question", maxStray, p.addr)
}

// overTCP asks over a connection, where each message is preceded by its length (RFC
// 1035 §4.2.2).
func (p *dnsProbe) overTCP(ctx context.Context) (*dns.Msg, result) {
	start := time.Now()
	conn, err := p.way.dial(ctx, "tcp", p.addr)
	if err != nil {
		return nil, badDial(p.addr, time.Since(start), err)
	}
	defer conn.Close() //nolint:errcheck // the answer is already in hand
	release := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer release()
	id, query := p.fresh(2)
	binary.BigEndian.PutUint16(query, uint16(len(p.query)))
	note(ctx, "send", "%s to %s over TCP, id %d", p.question(), p.addr, id)
	raw, err := exchangeTCP(conn, query)
	switch {
	case err != nil && timedOut(err):
		return nil, bad(core.L7Timeout, "connected to %s, but no whole answer for %s came in %s", p.addr, p.question(), short(time.Since(start)))
	case err != nil:
		return nil, bad(core.L7Response, "%s closed the connection without a whole answer for %s: %v", p.addr, p.question(), cause(err))
	}
	msg, err := p.read(raw, id)
	if err != nil {
		return nil, bad(core.L7Response, "answer of %s for %s: %v", p.addr, p.question(), err)
	}
	return msg, result{}
}

func exchangeTCP(conn net.Conn, query []byte) ([]byte, error) {
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	raw := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(conn, raw)
	return raw, err
}

// fresh is the query with an id that nobody can guess, with room before it.
func (p *dnsProbe) fresh(room int) (uint16, []byte) {
	id := uint16(rand.Uint32())
	query := make([]byte, room+len(p.query))
	copy(query[room:], p.query)
	binary.BigEndian.PutUint16(query[room:], id)
	return id, query
}

func (p *dnsProbe) question() string {
	return clip(p.ask.Name) + " " + dns.TypeToString[p.ask.Qtype]
}

// wants reports whether the rcode is among the expected ones.
func (p *dnsProbe) wants(rcode int) bool { return slices.Contains(p.rcodes, rcode) }
