// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// tcpProbe asks whether a backend accepts connections and, where the spec has steps or
// TLS, holds a dialogue with it. Without them it says nothing about whether the program
// behind the port works, which does not hear of it (way.knock). Emits connect; with a
// dialogue response_time, too, and with TLS tls and cert_expiry.
type tcpProbe struct {
	addr netip.AddrPort
	spec *core.ProbeSpec // read only
	plan *tcpPlan        // nil for a mere connect
}

func newTCP(t Target) prober {
	p := tcpProbe{addr: t.addr(), spec: t.Spec}
	if len(t.Spec.TCP.Steps) == 0 && !t.Spec.TCP.TLS.Enabled {
		return p
	}
	plan, err := planTCP(t.Spec)
	if err != nil {
		return impossible("tcp: " + err.Error())
	}
	p.plan = plan
	return p
}

func (p tcpProbe) probe(ctx context.Context) result {
	if p.plan != nil {
		return p.converse(ctx)
	}
	start := time.Now()
	conn, err := way(p.spec.Way).knock(ctx, p.addr)
	if err != nil {
		return badDial(p.addr, time.Since(start), err)
	}
	took := time.Since(start)
	if watched(ctx) { // most probes are of this kind, and the arguments alone cost as much as the rest
		note(ctx, "connect", "%s from %s in %s", p.addr, conn.LocalAddr(), short(took))
	}
	_ = conn.Close() // the answer is already in hand
	return result{
		ok:      true,
		code:    core.L4OK,
		detail:  "connected to " + p.addr.String() + " in " + short(took),
		metrics: []core.Metric{seconds(core.MetricConnect, took)},
	}
}

// converse connects and holds the dialogue.
func (p tcpProbe) converse(ctx context.Context) result {
	start := time.Now()
	conn, err := way(p.spec.Way).dial(ctx, "tcp", p.addr)
	if err != nil {
		return badDial(p.addr, time.Since(start), err)
	}
	return p.talk(ctx, conn, start)
}

// badDial says why a connection could not be made.
func badDial(addr netip.AddrPort, took time.Duration, err error) result {
	switch {
	case timedOut(err):
		return bad(core.L4Timeout, "no answer from %s in %s", addr, short(took))
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return bad(core.L4Refused, "%s refused the connection", addr)
	case unreachable(err):
		return bad(core.L4Unreach, "no way to %s: %v", addr, cause(err))
	case errors.Is(err, syscall.EPERM):
		return bad(core.Internal, filteredHere, addr)
	}
	return bad(core.Internal, "connect to %s: %v", addr, cause(err))
}

// filteredHere is the sentence for EPERM on sending. It says nothing about the
// backend: forwarded packets do not pass the output hook.
const filteredHere = "this host does not let the probe out to %s: look at its own filter rules (output hook)"

// timedOut reports whether the other side stayed silent: our deadline, or the
// kernel's own limit on SYN retries.
func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, syscall.ETIMEDOUT)
}

// unreachable reports that there is no way to the backend, for clients neither.
// EACCES is a route of type prohibit.
func unreachable(err error) bool {
	for _, e := range []error{syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.EACCES} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// cause is the innermost error: the sentence around it already has the address.
func cause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
