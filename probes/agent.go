// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// maxAgentLine is how much of an agent's answer is read. HAProxy reads 16 KiB; the
// longest line that means anything to it is far below this.
const maxAgentLine = 4 << 10

// agentBuffers are for one line each.
var agentBuffers = sync.Pool{New: func() any { return new([maxAgentLine]byte) }}

// agentProbe asks a HAProxy agent: it connects, says something if it is told to, and
// reads one line. Emits weight_ratio and max_connections, once the agent has named
// them, and asks for an admin state.
//
// "Parameters which are not advertised by the agent are not changed" (HAProxy 2.6,
// configuration manual §5.2, agent-check). So the prober keeps what an agent said
// until it says otherwise: one that said down must say up, and a weight that it
// named once holds.
type agentProbe struct {
	addr netip.AddrPort
	way  way
	send string

	downFor string // the words of the line that said down; empty while it is up
	ratio   float64
	limit   uint32
	known   agentKnown
}

// agentKnown is which of the numbers an agent has ever named.
type agentKnown struct{ ratio, limit bool }

func newAgent(t Target) prober {
	return &agentProbe{addr: t.addr(), way: way(t.Spec.Way), send: t.Spec.Agent.Send}
}

func (p *agentProbe) probe(ctx context.Context) result {
	start := time.Now()
	conn, err := p.way.dial(ctx, "tcp", p.addr)
	if err != nil {
		return noAgent(badDial(p.addr, time.Since(start), err))
	}
	defer conn.Close() //nolint:errcheck // the line is already in hand
	release := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer release()
	note(ctx, "connect", "%s in %s", p.addr, short(time.Since(start)))
	if p.send != "" {
		// No error yet: the agent may have spoken and gone before it was asked.
		_, err := conn.Write([]byte(p.send))
		note(ctx, "send", "%q%s", clip(p.send), butErr(err))
	}
	buf := agentBuffers.Get().(*[maxAgentLine]byte)
	defer agentBuffers.Put(buf)
	line, err := readAgentLine(conn, buf[:])
	note(ctx, "line", "%q%s", line, butErr(err))
	if err != nil {
		return bad(core.AgentNone, "%s: %v", p.addr, err)
	}
	return p.hear(ctx, parseAgentLine(line))
}

// noAgent makes nothing of a connection that failed: whether the backend is up is
// for other probes to say.
func noAgent(r result) result {
	if r.code != core.Internal {
		r.code = core.AgentNone
	}
	return r
}

func butErr(err error) string {
	if err == nil {
		return ""
	}
	return ", then: " + err.Error()
}

// Why a line is of no use. HAProxy ignores a line that does not end, too: what was
// cut off might have been "down", and "maxconn:3" might have been 30.
var (
	errAgentSilent = errors.New("connected to the agent, but it said nothing in time")
	errAgentClosed = errors.New("the agent closed the connection without a word")
	errAgentNoEnd  = errors.New("the agent's line does not end with a line feed")
	errAgentLong   = fmt.Errorf("the agent's line is longer than %d bytes", maxAgentLine)
	errAgentNUL    = errors.New("the agent's line has a NUL byte in it")
)

// readAgentLine reads up to the first CR or LF and returns what was before it.
func readAgentLine(conn io.Reader, buf []byte) ([]byte, error) {
	for n := 0; n < len(buf); {
		more, err := conn.Read(buf[n:])
		end := bytes.IndexAny(buf[n:n+more], "\r\n\x00")
		if end >= 0 && buf[n+end] == 0 {
			return buf[:n+end], errAgentNUL
		}
		if end >= 0 {
			return buf[:n+end], nil
		}
		n += more
		switch {
		case err == nil:
		case n > 0:
			return buf[:n], errAgentNoEnd
		case timedOut(err):
			return nil, errAgentSilent
		case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
			return nil, errAgentClosed
		default:
			return nil, fmt.Errorf("the agent closed the connection without a word: %w", cause(err))
		}
	}
	return buf, errAgentLong
}

// hear takes a line to heart and makes a result of all that the agent has said.
func (p *agentProbe) hear(ctx context.Context, l agentLine) result {
	if !l.says() {
		if l.odd == "" {
			return bad(core.AgentNone, "%s: the agent's line is empty", p.addr)
		}
		return bad(core.AgentNone, "%s: the agent said %q, of which no word is known%s", p.addr, clip(l.odd), l.hint())
	}
	held := p.downFor != "" && l.health == ""
	p.keep(l)
	r := result{ok: p.downFor == "", code: core.AgentOK, admin: l.admin, detail: l.text()}
	note(ctx, "means", "%s", r.detail)
	switch {
	case r.ok:
		r.metrics = p.metrics()
	case held:
		r.code = core.AgentDown
		r.detail = fmt.Sprintf("the agent said %s before and has not said up since; now %s", p.downFor, r.detail)
	default:
		r.code = core.AgentDown
	}
	return r
}

// keep notes what a line says; the rest stays as it was.
func (p *agentProbe) keep(l agentLine) {
	switch {
	case l.health == agentUp:
		p.downFor = ""
	case l.health != "":
		p.downFor = l.health
		if l.reason != "" {
			p.downFor += fmt.Sprintf(" (%s)", clip(l.reason))
		}
	}
	if l.known.ratio {
		p.ratio, p.known.ratio = l.ratio, true
	}
	if l.known.limit {
		p.limit, p.known.limit = l.limit, true
	}
}

func (p *agentProbe) metrics() []core.Metric {
	var ms []core.Metric
	if p.known.ratio {
		ms = append(ms, core.Metric{Name: core.MetricWeightRatio, Value: p.ratio, Unit: "ratio"})
	}
	if p.known.limit {
		ms = append(ms, core.Metric{Name: core.MetricMaxConnections, Value: float64(p.limit), Unit: "count"})
	}
	return ms
}
