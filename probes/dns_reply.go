// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/steelyard-lb/steelyard/core"
)

// errNotOurs is about a message that answers another question, or none.
var errNotOurs = errors.New("it answers another question")

// headerSize is of a DNS message (RFC 1035 §4.1.1).
const headerSize = 12

// read decodes a message that answers our question. Its id and its question are
// checked first: who does not see our packets has 2^16 ids and our port to guess.
func (p *dnsProbe) read(raw []byte, id uint16) (*dns.Msg, error) {
	if len(raw) < headerSize {
		return nil, fmt.Errorf("%w: %d bytes are less than a header", errNotOurs, len(raw))
	}
	if got := uint16(raw[0])<<8 | uint16(raw[1]); got != id {
		return nil, fmt.Errorf("%w: its id is %d, ours %d", errNotOurs, got, id)
	}
	if raw[2]&0x80 == 0 { // QR
		return nil, fmt.Errorf("%w: it is a question itself", errNotOurs)
	}
	msg := new(dns.Msg)
	if err := msg.Unpack(raw); err != nil {
		return nil, fmt.Errorf("%d bytes that are no DNS message: %s", len(raw), strings.TrimPrefix(err.Error(), "dns: "))
	}
	// Who could not read the question leaves it out.
	if len(msg.Question) == 0 && msg.Rcode != dns.RcodeSuccess {
		return msg, nil
	}
	if len(msg.Question) != 1 || !sameQuestion(msg.Question[0], p.ask) {
		return nil, errNotOurs
	}
	return msg, nil
}

func sameQuestion(a, b dns.Question) bool {
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}

// judge holds an answer against the spec.
func (p *dnsProbe) judge(msg *dns.Msg, took time.Duration) result {
	if !p.wants(msg.Rcode) {
		return bad(core.DNSRCode, "%s answers %s to %s, want %s%s", p.addr, rcodeText(msg.Rcode), p.question(), p.wanted(), rcodeHint(msg.Rcode))
	}
	found := p.records(msg)
	if len(found) < p.answers {
		return bad(core.DNSAnswer, "the answer of %s for %s has %s, want %d%s", p.addr, p.question(), manyRecords(len(found)), p.answers, instead(msg, nil))
	}
	first := ""
	if len(found) > 0 {
		first = rdata(found[0])
	}
	if p.expect != nil {
		at := p.match(found)
		if at < 0 {
			return bad(core.DNSAnswer, "no record of %s for %s matches %q%s", p.addr, p.question(), clip(p.expect.String()), instead(msg, found))
		}
		first = rdata(found[at])
	}
	r := result{ok: true, code: core.DNSOK, metrics: []core.Metric{
		seconds(core.MetricResponse, took),
		{Name: "answers", Value: float64(len(found)), Unit: "count"},
	}}
	r.detail = fmt.Sprintf("%s, %s for %s in %s", rcodeText(msg.Rcode), manyRecords(len(found)), p.question(), short(took))
	if first != "" {
		r.detail += ": " + clip(first)
	}
	if soa := firstSOA(found); soa != nil {
		r.metrics = append(r.metrics, core.Metric{Name: "serial", Value: float64(soa.Serial), Unit: "count"})
	}
	return r
}

// records are those of the answer that have the type that was asked for. A CNAME on
// the way to them is none of them.
func (p *dnsProbe) records(msg *dns.Msg) []dns.RR {
	var found []dns.RR
	for _, rr := range msg.Answer {
		if p.ask.Qtype == dns.TypeANY || rr.Header().Rrtype == p.ask.Qtype {
			found = append(found, rr)
		}
	}
	return found
}

// match is the index of the first record whose data matches, -1 if none does.
func (p *dnsProbe) match(found []dns.RR) int {
	for i, rr := range found {
		if p.expect.MatchString(rdata(rr)) {
			return i
		}
	}
	return -1
}

// rdata is the data of a record as a zone file has it: what stands after the name, the
// TTL, the class and the type.
func rdata(rr dns.RR) string {
	fields := strings.SplitN(rr.String(), "\t", 5)
	return fields[len(fields)-1]
}

func firstSOA(found []dns.RR) *dns.SOA {
	for _, rr := range found {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa
		}
	}
	return nil
}

// instead shows one record that is there: of the right type if there is one.
func instead(msg *dns.Msg, found []dns.RR) string {
	if len(found) == 0 {
		found = msg.Answer
	}
	if len(found) == 0 {
		return ""
	}
	return fmt.Sprintf("; the first is %s %s", dns.Type(found[0].Header().Rrtype), clip(rdata(found[0])))
}

func manyRecords(n int) string {
	if n == 1 {
		return "1 record"
	}
	return fmt.Sprintf("%d records", n)
}

func (p *dnsProbe) wanted() string {
	names := make([]string, len(p.rcodes))
	for i, c := range p.rcodes {
		names[i] = rcodeText(c)
	}
	return strings.Join(names, ", ")
}

func rcodeText(rcode int) string {
	if name := dns.RcodeToString[rcode]; name != "" {
		return name
	}
	return fmt.Sprintf("RCODE%d", rcode)
}

// rcodeHint is what the usual codes mean for a health check.
func rcodeHint(rcode int) string {
	switch rcode {
	case dns.RcodeRefused:
		return ": it has no such zone, or does not let this address ask (allow-query, access-control)"
	case dns.RcodeServerFailure:
		return ": it has the zone but could not load it, or could not ask others"
	case dns.RcodeNameError:
		return ": there is no such name"
	case dns.RcodeFormatError, dns.RcodeNotImplemented:
		return ": it does not understand the question; it may be too old for EDNS"
	}
	return ""
}

// flagText names the flags that tell an authoritative server from a cache.
func flagText(msg *dns.Msg) string {
	text := ""
	if msg.Authoritative {
		text += ", authoritative"
	}
	if msg.RecursionAvailable {
		text += ", recursion available"
	}
	if msg.Truncated {
		text += ", truncated"
	}
	return text
}
