// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"time"
	"weak"

	"github.com/steelyard-lb/steelyard/core"
)

// A tcpPlan is the dialogue of a spec, the same for all its backends.
type tcpPlan struct {
	spec    core.TCPSpec // a copy: the plan is of this very spec
	tls     *tls.Config  // nil without TLS
	upFront bool         // TLS from the start
	send    [][]byte     // by step; nil for one that sends nothing
	expect  []*regexp.Regexp
}

// tcpPlans are those in use.
var tcpPlans shared[weak.Pointer[core.ProbeSpec], tcpPlan]

// planTCP is the plan of a spec. The error is a sentence about what is impossible in it.
func planTCP(spec *core.ProbeSpec) (*tcpPlan, error) {
	same := func(p *tcpPlan) bool { return reflect.DeepEqual(p.spec, spec.TCP) }
	return tcpPlans.get(weak.Make(spec), same, func() (*tcpPlan, error) { return makeTCPPlan(spec.TCP) })
}

func makeTCPPlan(spec core.TCPSpec) (*tcpPlan, error) {
	p := &tcpPlan{spec: spec, upFront: spec.TLS.Enabled, send: make([][]byte, len(spec.Steps)), expect: make([]*regexp.Regexp, len(spec.Steps))}
	starts := 0
	for i, s := range spec.Steps {
		set := 0
		for _, is := range []bool{s.Send != "", s.SendHex != "", s.Expect != "", s.StartTLS} {
			if is {
				set++
			}
		}
		if set != 1 {
			return nil, fmt.Errorf("step %d is none of send, send_hex, expect and starttls, or several", i+1)
		}
		var err error
		if p.send[i], err = sendable(s); err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
		if p.expect[i], err = compile("expect", s.Expect); err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
		if s.StartTLS {
			starts++
			p.upFront = false
		}
	}
	if starts > 1 {
		return nil, errors.New("starttls more than once: a connection becomes secure only once")
	}
	if spec.TLS.Enabled || starts > 0 {
		var err error
		p.tls, err = newTLS(spec.TLS, "")
		return p, err
	}
	return p, nil
}

// sendable are the bytes that a step sends; nil if it sends none.
func sendable(s core.TCPStep) ([]byte, error) {
	if s.SendHex == "" {
		return []byte(s.Send), nil
	}
	say, err := hex.DecodeString(strings.ReplaceAll(s.SendHex, " ", ""))
	if err != nil {
		return nil, fmt.Errorf("send_hex: %w", err)
	}
	return say, nil
}

// A talk is one dialogue.
type talk struct {
	phases
	conn net.Conn
	plan *tcpPlan
	heard
}

// talk holds the dialogue over a connection that it closes.
func (p tcpProbe) talk(ctx context.Context, conn net.Conn, start time.Time) result {
	defer conn.Close() //nolint:errcheck // the answer is already in hand
	release := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer release()

	t := talk{phases: phases{start: start}, conn: conn, plan: p.plan}
	t.done(core.MetricConnect)
	note(ctx, "connect", "%s from %s in %s", p.addr, conn.LocalAddr(), short(t.last.Sub(start)))
	buf := talks.Get().(*[]byte)
	t.buf = (*buf)[:0]
	defer func() { t.keep(buf) }()
	if p.plan.upFront {
		if r, ok := t.secure(ctx, p); !ok {
			return r
		}
	}
	for i, s := range p.plan.spec.Steps {
		if r, ok := t.step(ctx, p, i, s); !ok {
			return r
		}
	}
	took := time.Since(start)
	r := result{ok: true, code: core.L7OK, metrics: append(t.metrics, seconds(core.MetricResponse, took))}
	r.detail = fmt.Sprintf("%d steps with %s in %s", len(p.plan.spec.Steps), p.addr, short(took))
	if secure, ok := t.conn.(*tls.Conn); ok {
		r.metrics = withExpiry(r.metrics, secure)
		if len(p.plan.spec.Steps) == 0 {
			r.detail = fmt.Sprintf("%s with %s in %s", tls.VersionName(secure.ConnectionState().Version), p.addr, short(took))
		}
	}
	return r
}

// secure makes the connection a TLS connection. What came before and was not looked at is
// dropped: nobody protected it.
func (t *talk) secure(ctx context.Context, p tcpProbe) (result, bool) {
	t.drop()
	t.last = time.Now() // the handshake alone is the phase
	secure, code, err := handshake(ctx, t.conn, t.plan.tls)
	if err != nil {
		return badTLS(p.addr, code, err), false
	}
	t.conn = secure
	t.done(core.MetricTLS)
	return result{}, true
}

// step takes step i; false with a result ends the dialogue.
func (t *talk) step(ctx context.Context, p tcpProbe, i int, s core.TCPStep) (result, bool) {
	at := fmt.Sprintf("%s, step %d of %d", p.addr, i+1, len(t.plan.spec.Steps))
	if s.StartTLS {
		if i > 0 && t.plan.expect[i-1] != nil {
			t.finishLine()
		}
		return t.secure(ctx, p)
	}
	if say := t.plan.send[i]; len(say) > 0 {
		note(ctx, "send", "step %d: %d bytes, %s", i+1, len(say), firstWord(string(say)))
		if _, err := t.conn.Write(say); err != nil {
			return t.broken(ctx, p, at, "not all could be sent", err), false
		}
		return result{}, true
	}
	re := t.plan.expect[i]
	got, err := t.until(t.conn, re)
	if err == nil {
		note(ctx, "expect", "step %d: %#q matches %q", i+1, re, clip(got))
		return result{}, true
	}
	note(ctx, "expect", "step %d: %#q: no match in %q", i+1, re, firstOf(t.buf))
	want := fmt.Sprintf("nothing that matches %#q came", clip(re.String()))
	if len(t.buf) > 0 && !refusedTLS(err) {
		// Not a time-out, although the wait ended with one: a service that is up and
		// says something else.
		return bad(core.L7Expect, "%s: %s, but %q", at, want, clip(lastLine(t.buf))), false
	}
	return t.broken(ctx, p, at, want, err), false
}

// broken is about a connection that failed before anything came that could be judged.
func (t *talk) broken(ctx context.Context, p tcpProbe, at, what string, err error) result {
	switch {
	case timedOut(err) || ctx.Err() != nil:
		return bad(core.L7Timeout, "%s: %s: waited %s", at, what, short(time.Since(t.start)))
	case refusedTLS(err):
		code, said := tlsFailure(err, t.plan.tls, false)
		return badTLS(p.addr, code, said)
	case errors.Is(err, io.EOF):
		return bad(core.L7Response, "%s: %s before it hung up", at, what)
	}
	return bad(core.L7Response, "%s: %s: %v", at, what, cause(err))
}

// firstWord is as much of what we send as may be shown: a password comes later.
func firstWord(s string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	return fmt.Sprintf("%q", clip(word))
}

// lastLine is what a server said last, where it usually says what is wrong.
func lastLine(b []byte) string {
	b = bytes.TrimRight(b, "\r\n")
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}

// Limits on what a backend can make us read for one expect.
const (
	maxHeard = 64 << 10
	// maxReads bounds the work that a backend which trickles makes: each read has the
	// regular expression look at all that has come.
	maxReads = 1024
	// lookRate is how many bytes the expression looks at in a second after quickReads,
	// where that is more than a prompt: what comes meanwhile is looked at together. One
	// core does ten to a hundred times as much.
	lookRate   = 4 << 20
	quickReads = 16
	prompt     = 4 << 10
)

// heard is what has come and was not matched yet.
type heard struct {
	buf []byte
	// tried is how much of buf are whole lines that did not match.
	tried int
}

// talks are buffers of dialogues: between two runs a prober holds none.
var talks = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func (h *heard) keep(buf *[]byte) {
	*buf = h.buf[:0]
	talks.Put(buf)
}

// lineEnd ends a line.
var lineEnd = regexp.MustCompile("\n")

// finishLine waits for the rest of a line whose beginning was expected and whose middle
// has come: it would be in the way of a TLS handshake. A failure shows in what is next.
func (t *talk) finishLine() {
	if len(t.buf) > 0 && !bytes.Contains(t.buf, []byte("\n")) {
		_, _ = t.until(t.conn, lineEnd)
	}
}

func (h *heard) drop() { h.buf, h.tried = h.buf[:0], 0 }

var (
	errTooMuch = fmt.Errorf("gave up after %d bytes", maxHeard)
	errTrickle = fmt.Errorf("gave up after %d pieces", maxReads)
)

// until reads until re matches, and takes away what came up to the end of the match, so
// that the next one looks at what follows. It returns the text that matched.
func (h *heard) until(in io.Reader, re *regexp.Regexp) (string, error) {
	h.tried = 0
	var failed error
	for n := range maxReads {
		if got, ok := h.match(re); ok {
			return got, nil
		}
		if n >= quickReads && len(h.buf) >= prompt {
			time.Sleep(time.Duration(len(h.buf)) * time.Second / lookRate)
		}
		if failed != nil {
			return "", failed
		}
		if len(h.buf) >= maxHeard {
			return "", errTooMuch
		}
		failed = h.more(in)
	}
	return "", errTrickle
}

// more reads once.
func (h *heard) more(in io.Reader) error {
	if cap(h.buf) == len(h.buf) {
		grown := make([]byte, len(h.buf), min(max(2*cap(h.buf), 4<<10), maxHeard))
		copy(grown, h.buf)
		h.buf = grown
	}
	n, err := in.Read(h.buf[len(h.buf):cap(h.buf)])
	h.buf = h.buf[:len(h.buf)+n]
	return err
}

// match looks at each line that is whole and was not looked at before, without its line
// end, and then at all that has come.
func (h *heard) match(re *regexp.Regexp) (string, bool) {
	if len(h.buf) == 0 {
		return "", false // an expression that matches nothing, too, waits for an answer
	}
	for {
		end := bytes.IndexByte(h.buf[h.tried:], '\n')
		if end < 0 {
			break
		}
		line := bytes.TrimSuffix(h.buf[h.tried:h.tried+end], []byte("\r"))
		if at := re.FindIndex(line); at != nil {
			return h.take(h.tried+at[0], h.tried+at[1]), true
		}
		h.tried += end + 1
	}
	if at := re.FindIndex(h.buf); at != nil {
		return h.take(at[0], at[1]), true
	}
	return "", false
}

// take removes everything up to a match, and returns it.
func (h *heard) take(from, to int) string {
	got := string(h.buf[from:to])
	h.buf = h.buf[:copy(h.buf, h.buf[to:])]
	h.tried = 0
	return got
}
