// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// maxDatagram is how much of a datagram is looked at; the rest of a longer one is cut off.
const maxDatagram = 4 << 10

// datagrams are buffers for one each.
var datagrams = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

// udpProbe sends one datagram. If the spec has a condition it waits for the reply and
// holds it against that. Without one a port is good that no ICMP error comes back
// from within nine tenths of the timeout; a reply ends the wait. Emits response_time
// if a reply came.
type udpProbe struct {
	addr   netip.AddrPort
	way    way
	spec   *core.UDPSpec
	expect *regexp.Regexp // nil: no such condition
}

// expressions are those in use: one spec may be that of thousands of probers.
var expressions shared[string, regexp.Regexp]

// expression compiles a condition on an answer; nil for none.
func expression(text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, nil
	}
	return expressions.get(text, nil, func() (*regexp.Regexp, error) { return regexp.Compile(text) })
}

func newUDP(t Target) prober {
	p := &udpProbe{addr: t.addr(), way: way(t.Spec.Way), spec: &t.Spec.UDP}
	if n := len(p.spec.Mask); n != 0 && n != len(p.spec.Reply) {
		return impossible(fmt.Sprintf("udp: the mask has %d bytes, the reply that it is for %d", n, len(p.spec.Reply)))
	}
	var err error
	if p.expect, err = expression(p.spec.Expect); err != nil {
		return impossible(fmt.Sprintf("udp: expect: %v", err))
	}
	return p
}

// needs reports whether a run without a reply is bad.
func (p *udpProbe) needs() bool {
	return p.spec.Need || len(p.spec.Reply) > 0 || p.expect != nil
}

func (p *udpProbe) probe(ctx context.Context) result {
	start := time.Now()
	conn, err := dialUDP(ctx, p.way, p.addr)
	if err != nil {
		return badUDP(p.addr, err)
	}
	defer conn.Close() //nolint:errcheck // nothing is left to send
	if end, ok := ctx.Deadline(); ok && !p.needs() {
		_ = conn.SetReadDeadline(quietEnd(start, end))
	}
	release := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer release()

	note(ctx, "send", "%d bytes to %s: %x", len(p.spec.Payload), p.addr, p.spec.Payload[:min(len(p.spec.Payload), 64)])
	if _, err := conn.Write(p.spec.Payload); err != nil {
		return badUDP(p.addr, err)
	}
	buf := datagrams.Get().(*[maxDatagram]byte)
	defer datagrams.Put(buf)
	n, err := conn.Read(buf[:])
	took := time.Since(start)
	switch {
	case err == nil:
		note(ctx, "reply", "%d bytes in %s: %x", n, short(took), buf[:min(n, 64)])
		return p.judge(buf[:n], took)
	case !timedOut(err):
		note(ctx, "reply", "none, but in %s: %v", short(took), cause(err))
		return badUDP(p.addr, err)
	case p.needs():
		return bad(core.L7Timeout, "sent %d bytes to %s, and no reply came in %s", len(p.spec.Payload), p.addr, short(took))
	}
	note(ctx, "reply", "none in %s, and no ICMP error either", short(took))
	return result{ok: true, code: core.L4OK, detail: fmt.Sprintf("sent %d bytes to %s, and no ICMP error came back in %s", len(p.spec.Payload), p.addr, short(took))}
}

// quietEnd is until when an ICMP error may come where nothing else is waited for: nine
// tenths of the time. The rest keeps a good run from being taken for one that hangs.
func quietEnd(start, end time.Time) time.Time {
	return start.Add(end.Sub(start) / 10 * 9)
}

// judge holds a reply against the spec.
func (p *udpProbe) judge(reply []byte, took time.Duration) result {
	if at := firstDifference(reply, p.spec.Reply, p.spec.Mask); at >= 0 {
		if at >= len(reply) {
			return bad(core.L7Expect, "the reply of %s has %d bytes, want %d at least: %x", p.addr, len(reply), len(p.spec.Reply), reply)
		}
		return bad(core.L7Expect, "byte %d of the reply of %s is %#02x, want %#02x%s", at, p.addr, reply[at], p.spec.Reply[at], maskText(p.spec.Mask, at))
	}
	if p.expect != nil && !p.expect.Match(reply) {
		return bad(core.L7Expect, "the reply of %s does not match %q: %q", p.addr, clip(p.spec.Expect), clip(string(reply)))
	}
	return result{
		ok:      true,
		code:    core.L7OK,
		detail:  fmt.Sprintf("a reply of %d bytes in %s", len(reply), short(took)),
		metrics: []core.Metric{seconds(core.MetricResponse, took)},
	}
}

// firstDifference is the index of the first byte of got that is not as in want, where a
// bit of mask is 1; an empty mask is all ones. It is len(got) if got is too short, and
// -1 if nothing differs.
func firstDifference(got, want, mask []byte) int {
	for i, w := range want {
		if i >= len(got) {
			return i
		}
		care := byte(0xff)
		if len(mask) > 0 {
			care = mask[i]
		}
		if (got[i]^w)&care != 0 {
			return i
		}
	}
	return -1
}

func maskText(mask []byte, at int) string {
	if len(mask) == 0 || mask[at] == 0xff {
		return ""
	}
	return fmt.Sprintf(" under the mask %#02x", mask[at])
}

// dialUDP makes a connected socket, which takes datagrams of addr only, and which tells
// of every ICMP error. Without IP_RECVERR Linux keeps all but port and protocol
// unreachable to itself, as a neighbour that does not answer ARP.
func dialUDP(ctx context.Context, w way, addr netip.AddrPort) (net.Conn, error) {
	conn, err := w.dial(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	level, option := unix.IPPROTO_IP, unix.IP_RECVERR
	if addr.Addr().Is6() && !addr.Addr().Is4In6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, 1) })
	if err = errors.Join(err, set); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("ask for ICMP errors: %w", err)
	}
	return conn, nil
}

// badUDP says why a datagram did not get through.
func badUDP(addr netip.AddrPort, err error) result {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return bad(core.L4Refused, "%s: ICMP port unreachable: nothing listens on that UDP port", addr)
	case unreachable(err), icmpError(err):
		return bad(core.L4Unreach, "no way to %s: %v", addr, cause(err))
	case errors.Is(err, syscall.EPERM):
		return bad(core.Internal, filteredHere, addr)
	case timedOut(err):
		return bad(core.L4Timeout, "the datagram to %s could not be sent in time", addr)
	}
	return bad(core.Internal, "datagram to %s: %v", addr, cause(err))
}

// icmpError reports one of the rarer ICMP errors: no such protocol, a parameter
// problem, an isolated host, a source route that failed.
func icmpError(err error) bool {
	for _, e := range []error{syscall.ENOPROTOOPT, syscall.EPROTO, syscall.ENONET, syscall.EOPNOTSUPP} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
