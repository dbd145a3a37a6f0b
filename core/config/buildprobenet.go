// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// maxScript is the most steps of a dialogue, and maxPayload the most bytes of a
// datagram that fits into one packet of any network of ours.
const (
	maxScript  = 64
	maxPayload = 1400
)

// tcp has the steps of the script, or those of the short form.
func (b *builder) tcp(path string, r rawProbe) core.TCPSpec {
	at := join(path, "script")
	if len(r.Script) > 0 && (r.Send != "" || r.SendHex != "" || r.Expect != "") {
		b.wrong(b.set(path, "send", "send_hex", "expect"), "put it into the script", "send and expect are the short form of a script, and there is a script")
	}
	if len(r.Script) > maxScript {
		b.misplaced(at, "", "the script has %d steps, at most %d can be", len(r.Script), maxScript)
	}
	var steps []core.TCPStep
	if r.Send != "" {
		b.lineEnds(join(path, "send"), r.Send)
		steps = append(steps, core.TCPStep{Send: r.Send})
	}
	if r.SendHex != "" {
		if r.Send != "" {
			b.misplaced(join(path, "send_hex"), "leave one of them out", "send and send_hex are two ways to say what is sent")
		}
		steps = append(steps, core.TCPStep{SendHex: r.SendHex})
	}
	if r.Expect != "" {
		b.expression(join(path, "expect"), r.Expect)
		steps = append(steps, core.TCPStep{Expect: r.Expect})
	}
	starts := false
	for i, step := range r.Script {
		if b.step(join(at, strconv.Itoa(i)), step, starts) {
			steps = append(steps, core.TCPStep(step))
		}
		starts = starts || step.StartTLS
	}
	if on := join(path, "tls.enabled"); starts && b.written(on) && !r.TLS.Enabled && !b.spoilt[on] {
		b.wrong(on, "leave tls out, or starttls", "the script has a step starttls, and tls is switched off")
	}
	return core.TCPSpec{TLS: b.tls(path, r.TLS, starts), Steps: steps}
}

// lineEnds warns of the end of a line that YAML has not made one: it does so between
// double quotes only.
func (b *builder) lineEnds(path, text string) {
	for _, end := range []struct{ text, count string }{{`\r\n`, "four"}, {`\n`, "two"}, {`\r`, "two"}} {
		if strings.Contains(text, end.text) {
			b.warn(path, "write it in double quotes", "%s is sent as these %s characters, not as the end of a line", end.text, end.count)
			return
		}
	}
}

// step checks one step of a script.
func (b *builder) step(at string, s rawStep, encrypted bool) bool {
	if b.spoiltBelow(at) {
		return false
	}
	b.lineEnds(join(at, "send"), s.Send)
	keys := 0
	for _, set := range []bool{s.Send != "", s.SendHex != "", s.Expect != "", s.StartTLS} {
		if set {
			keys++
		}
	}
	switch {
	case keys != 1:
		b.wrong(at, `such as {expect: "^220 "}, {send: "QUIT\r\n"} or {starttls: true}`, "a step has one of send, send_hex, expect and starttls, and this one has %s", [...]string{"none", "", "two", "three", "four"}[keys])
	case s.StartTLS && encrypted:
		b.wrong(join(at, "starttls"), "", "the connection is encrypted already, since an earlier step")
	default:
		b.expression(join(at, "expect"), s.Expect)
	}
	return true
}

func (b *builder) dns(path string, r rawProbe) core.DNSSpec {
	s := core.DNSSpec{
		Question: strings.TrimPrefix(r.Name, "."), Record: r.Record, TCP: r.Over == "tcp", NoRecurse: !r.Recurse,
		RCodes: r.RCodes, Expect: r.Expect, Answers: r.Answers,
	}
	if len(s.Question) > 253+strings.Count(s.Question[max(len(s.Question)-1, 0):], ".") {
		b.wrong(join(path, "name"), "", "the name has %d characters, DNS takes 253", len(s.Question))
	}
	b.expression(join(path, "expect"), r.Expect)
	at := join(path, "rcodes")
	switch {
	case b.spoiltBelow(at):
	case len(r.RCodes) == 0:
		b.wrong(at, "leave it out for NOERROR", "no code would count as good")
	case !slices.Contains(r.RCodes, "NOERROR") && (r.Expect != "" || r.Answers > 0):
		b.wrong(b.set(path, "expect", "answers"), "add NOERROR to rcodes, or leave it out", "an answer of the codes %s has no records to look at", list(r.RCodes))
	}
	return s
}

func (b *builder) udp(path string, r rawProbe) core.UDPSpec {
	s := core.UDPSpec{Payload: []byte(r.Payload), Expect: r.Expect, Need: r.NeedReply}
	if len(s.Payload) == 0 {
		s.Payload = nil
	}
	if r.PayloadHex != "" {
		if r.Payload != "" {
			b.misplaced(join(path, "payload_hex"), "leave one of them out", "payload and payload_hex are two ways to give one payload")
		}
		s.Payload = fromHex(r.PayloadHex)
	}
	if n := len(s.Payload); n > maxPayload {
		b.wrong(b.set(path, "payload_hex", "payload"), "", "the payload has %d bytes, at most %d can be sent in one packet", n, maxPayload)
	}
	s.Reply, s.Mask = masked(r.ReplyHex)
	if len(s.Mask) > 0 && !slices.ContainsFunc(s.Mask, func(m byte) bool { return m != 0 }) {
		b.wrong(join(path, "reply_hex"), "need_reply: true asks for any reply", "every half byte of reply_hex is an x: any reply that is as long would do")
	}
	b.expression(join(path, "expect"), r.Expect)
	return s
}

// fromHex is what the pattern of the key has let through, in bytes.
func fromHex(text string) []byte {
	out, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic("hexadecimal that its pattern let through: " + err.Error())
	}
	return out
}

// masked is keepalived's form of a reply: an x stands for any half of a byte.
func masked(text string) (reply, mask []byte) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var value, care strings.Builder
	for _, c := range strings.ReplaceAll(text, " ", "") {
		if c == 'x' || c == 'X' {
			value.WriteByte('0')
			care.WriteByte('0')
			continue
		}
		value.WriteRune(c)
		care.WriteByte('f')
	}
	return fromHex(value.String()), fromHex(care.String())
}
