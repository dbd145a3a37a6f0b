// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	probing "github.com/prometheus-community/pro-bing"

	"github.com/steelyard-lb/steelyard/core"
)

// minPingSize is what pro-bing needs to know its own packets again: a time and
// a UUID.
const minPingSize = 24

// maxPingSpacing is the time between two echo requests of a run; less where
// the timeout is short.
const maxPingSpacing = 200 * time.Millisecond

// pingProbe sends a few ICMP echo requests and fails only when every one is
// lost. Emits rtt (average) and loss.
type pingProbe struct {
	addr        netip.Addr
	count, size int
	// unprivileged is set once a raw socket was refused: from then on the
	// kernel's ping sockets are used.
	unprivileged bool
}

func newPing(t Target) prober {
	addr, spec := t.Addr.Addr(), t.Spec.Ping
	return &pingProbe{addr: addr, count: max(spec.Count, 1), size: max(spec.Size, minPingSize)}
}

func (p *pingProbe) probe(ctx context.Context) result {
	if err := routed(p.addr); err != nil {
		return bad(core.L4Unreach, "no way to %s: %v", p.addr, cause(err))
	}
	stats, err := p.ping(ctx)
	if denied(err) && !p.unprivileged {
		p.unprivileged = true
		stats, err = p.ping(ctx)
	}
	switch {
	case filtered(err):
		return bad(core.Internal, filteredHere, p.addr)
	case denied(err):
		return bad(core.Internal, "ping %s: not permitted: give the process CAP_NET_RAW, or put its group into sysctl net.ipv4.ping_group_range", p.addr)
	case err != nil && unreachable(err):
		return bad(core.L4Unreach, "no way to %s: %v", p.addr, cause(err))
	case err != nil && !timedOut(err):
		return bad(core.Internal, "ping %s: %v", p.addr, cause(err))
	case stats.PacketsRecv == 0:
		return bad(core.PingLost, "no echo reply from %s to %d requests", p.addr, stats.PacketsSent)
	}
	m := []core.Metric{
		seconds(core.MetricRTT, stats.AvgRtt),
		{Name: core.MetricLoss, Value: min(1, max(0, stats.PacketLoss/100)), Unit: "ratio"},
	}
	r := result{ok: true, code: core.PingOK, metrics: m}
	r.detail = "echo reply from " + p.addr.String() + " in " + short(stats.AvgRtt)
	if stats.PacketLoss > 0 {
		r.detail += ", some were lost"
	}
	return r
}

// ping runs one round and ends when all replies are in or ctx is done.
func (p *pingProbe) ping(ctx context.Context) (*probing.Statistics, error) {
	left := defaultTimeout
	if d, ok := ctx.Deadline(); ok {
		left = time.Until(d)
	}
	pinger := probing.New(p.addr.String())
	pinger.SetIPAddr(&net.IPAddr{IP: p.addr.AsSlice(), Zone: p.addr.Zone()})
	pinger.SetPrivileged(!p.unprivileged)
	pinger.SetLogger(probing.NoopLogger{})
	pinger.RecordRtts, pinger.RecordTTLs = false, false
	pinger.Count, pinger.Size = p.count, p.size
	// All requests go out in the first half, so that the last one has as much
	// time to come back as the others at least.
	pinger.Interval = cmp.Or(min(maxPingSpacing, left/2/time.Duration(p.count)), time.Millisecond)
	pinger.Timeout = max(left-left/20, time.Millisecond)
	err := pinger.RunWithContext(ctx)
	return pinger.Statistics(), err
}

// routed asks the kernel for a route and sends nothing. Without it a `prohibit`
// route makes pro-bing spin for ever: it takes the EACCES for a broadcast
// address and sends again.
func routed(addr netip.Addr) error {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 9))) // discard
	if err != nil {
		return err
	}
	return conn.Close()
}

// denied reports that the kernel refused the socket.
func denied(err error) bool {
	return errors.Is(err, os.ErrPermission) && !filtered(err)
}

// filtered reports that the socket is there, but its packets are not let out.
func filtered(err error) bool {
	var op *net.OpError
	return errors.Is(err, syscall.EPERM) && errors.As(err, &op) && op.Op == "write"
}
