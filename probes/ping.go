// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// maxPingSpacing is the time between two echo requests of a run; less where the
	// timeout is short.
	maxPingSpacing = 200 * time.Millisecond
	// pingRetry is how long after the kernel had no room for a request it is sent
	// again.
	pingRetry = 5 * time.Millisecond
	// maxPingSize is the most that fits into an IP packet.
	maxPingSize = 65535 - 20 - echoHeader
)

// pingProbe sends a few ICMP echo requests and fails only when every one is lost or
// comes back. Emits rtt (average) and loss.
type pingProbe struct {
	addr netip.Addr
	spec *core.ProbeSpec
}

func newPing(t Target) prober { return &pingProbe{t.Addr.Addr(), t.Spec} }

func (p *pingProbe) way() way { return way(p.spec.Way) }

// count is how many requests a run has, and size the bytes of payload of each.
func (p *pingProbe) count() int { return max(p.spec.Ping.Count, 1) }
func (p *pingProbe) size() int  { return min(max(p.spec.Ping.Size, echoCookie), maxPingSize) }

func (p *pingProbe) probe(ctx context.Context) result {
	s, err := p.socket()
	if err != nil {
		return bad(core.Internal, "ping %s: %v", p.addr, pingCause(err))
	}
	defer pings.release(s)
	kind := "ping socket"
	if s.raw {
		kind = "raw socket"
	}
	note(ctx, "socket", "%s, identifier %d", kind, s.id)
	r := &pingRun{
		to: p.addr.Unmap().WithZone(""), cookie: rand.Uint64(), over: make(chan struct{}, 1),
		traced: watched(ctx),
	}
	err = p.ask(ctx, s, r)
	s.end(r)
	return p.judge(ctx, s, r, err)
}

func (p *pingProbe) socket() (*pingSocket, error) {
	to := p.addr.Unmap()
	if w := p.way(); w.Source.IsValid() {
		if err := w.reaches(to); err != nil {
			return nil, err
		}
	}
	return pings.acquire(pingKey{p.way(), to.Is6()})
}

// ask sends the requests of a run, and returns when there is nothing more to wait
// for. An error is of sending.
func (p *pingProbe) ask(ctx context.Context, s *pingSocket, r *pingRun) error {
	to, err := p.sockaddr()
	if err != nil {
		return err
	}
	b := pingBuffers.Get().(*[]byte)
	defer pingBuffers.Put(b)
	if size := echoHeader + p.size(); cap(*b) < size {
		*b = make([]byte, size)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	spacing := p.spacing(ctx)
	for range p.count() {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if ctx.Err() != nil { // select takes either
			return nil
		}
		timer.Reset(spacing)
		if err := p.send(ctx, s, r, (*b)[:echoHeader+p.size()], to); err != nil {
			return err
		}
	}
	for s.waits(r) > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-r.over:
		}
	}
	return nil
}

// pingBuffers are requests under way to the kernel.
var pingBuffers = sync.Pool{New: func() any { b := make([]byte, 128); return &b }}

// sockaddr finds a zone where the socket is.
func (p *pingProbe) sockaddr() (to unix.Sockaddr, err error) {
	if p.addr.Zone() == "" {
		return sockaddr(p.addr)
	}
	err = p.way().inside(func() error {
		to, err = sockaddr(p.addr)
		return err
	})
	return to, err
}

// spacing is the time between two requests. All go out in the first half, so that
// the last one has as much time to come back as the others at least.
func (p *pingProbe) spacing(ctx context.Context) time.Duration {
	left := defaultTimeout
	if d, ok := ctx.Deadline(); ok {
		left = time.Until(d)
	}
	return min(maxPingSpacing, max(time.Millisecond, left/2/time.Duration(p.count())))
}

// send sends one request, again and again while the kernel has no room for it.
func (p *pingProbe) send(ctx context.Context, s *pingSocket, r *pingRun, b []byte, to unix.Sockaddr) error {
	seq, err := s.begin(r)
	if err != nil {
		return err
	}
	newEcho(b, s.v6, s.id, seq, r.cookie)
	for tries := 0; ; tries++ {
		err = s.send(b, to)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) {
			break
		}
		select {
		case <-ctx.Done():
			s.drop(r)
			return err
		case <-time.After(pingRetry):
			s.restart(seq)
		}
	}
	s.drop(r)
	return err
}

// judge makes the result of a run that is over. err is what sending ended with.
func (p *pingProbe) judge(ctx context.Context, s *pingSocket, r *pingRun, err error) result {
	sent := len(r.seqs)
	note(ctx, "sent", "%d echo requests with %d bytes to %s", sent, p.size(), p.addr)
	for _, a := range r.seen {
		if a.echo.replied {
			note(ctx, "reply", "to request %d from %s in %s", a.n+1, a.from, short(a.took))
		} else {
			note(ctx, "error", "for request %d from %s: %s", a.n+1, a.from, a.echo.reason(s.v6))
		}
	}
	switch {
	case r.replies > 0:
		return p.good(r, sent)
	case errors.Is(err, unix.EPERM):
		return bad(core.Internal, filteredHere, p.addr)
	case err != nil && (unreachable(err) || errors.Is(err, unix.EINVAL)): // a blackhole route
		return bad(core.L4Unreach, "no way to %s: %v", p.addr, pingCause(err))
	case err != nil:
		return bad(core.Internal, "ping %s: %v", p.addr, pingCause(err))
	case r.refused > 0:
		return bad(core.L4Unreach, "no way to %s: %s, says %s", p.addr, r.why.reason(s.v6), r.who)
	case sent == 0:
		return bad(core.Internal, "ping %s: the time was over before a request was sent: this host is too busy", p.addr)
	}
	return bad(core.PingLost, "no echo reply from %s to %d requests", p.addr, sent)
}

func (p *pingProbe) good(r *pingRun, sent int) result {
	rtt := r.sum / time.Duration(r.replies)
	loss := 1 - float64(r.replies)/float64(sent)
	res := result{ok: true, code: core.PingOK, metrics: []core.Metric{
		seconds(core.MetricRTT, rtt),
		{Name: core.MetricLoss, Value: loss, Unit: "ratio"},
	}}
	res.detail = "echo reply from " + p.addr.String() + " in " + short(rtt)
	if loss > 0 {
		res.detail += ", some were lost"
	}
	return res
}

// pingCause puts into words what the kernel says of a buffer that is full.
func pingCause(err error) error {
	if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) {
		return errors.New("the kernel had no room for a request all the time: its buffer was full")
	}
	return err
}
