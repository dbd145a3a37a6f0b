// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/vishvananda/netns"
)

// Both sides of TFTP (RFC 1350): the server answers a request from a port of its
// own, and the rest of the transfer is between that port and the client's.
const (
	tftpRead  = 1
	tftpWrite = 2
	tftpData  = 3
	tftpAck   = 4
	tftpBlock = 512 // a shorter block ends the transfer
)

// A tftpEnd is one end of a transfer. It sends nothing twice: what gets lost is
// to be noticed.
type tftpEnd struct {
	net.PacketConn
	peer net.Addr // nil: whoever sends first
}

func (e *tftpEnd) put(op, block uint16, data []byte) error {
	b := binary.BigEndian.AppendUint16(nil, op)
	_, err := e.WriteTo(append(binary.BigEndian.AppendUint16(b, block), data...), e.peer)
	return err
}

// want takes the next packet, which must be this one of the peer.
func (e *tftpEnd) want(op, block uint16) ([]byte, error) {
	b := make([]byte, 4+tftpBlock)
	n, from, err := e.ReadFrom(b)
	if err != nil {
		return nil, fmt.Errorf("packet %d of block %d: %w", op, block, err)
	}
	if e.peer == nil {
		e.peer = from
	}
	if n < 4 || binary.BigEndian.Uint16(b) != op || binary.BigEndian.Uint16(b[2:]) != block || from.String() != e.peer.String() {
		return nil, fmt.Errorf("packet %x from %s: want %d of block %d from %s", b[:n], from, op, block, e.peer)
	}
	return b[4:n], nil
}

func (e *tftpEnd) send(text string) error {
	for block := uint16(1); ; block++ {
		part := text[:min(len(text), tftpBlock)]
		text = text[len(part):]
		if err := e.put(tftpData, block, []byte(part)); err != nil {
			return err
		}
		if _, err := e.want(tftpAck, block); err != nil || len(part) < tftpBlock {
			return err
		}
	}
}

func (e *tftpEnd) receive() (text string, err error) {
	for block := uint16(1); ; block++ {
		part, err := e.want(tftpData, block)
		if err == nil {
			text += string(part)
			err = e.put(tftpAck, block, nil)
		}
		if err != nil || len(part) < tftpBlock {
			return text, err
		}
	}
}

// tftpText is the one file that there is, of three blocks. It ends with who sends
// it, and to whom.
func tftpText(name, client string) string {
	return strings.Repeat("steelyard ", 2*tftpBlock/10) + name + " " + client
}

// tftpServer sends that file, and passes on those that it is given.
func tftpServer(w *world, name, addr string) (taken chan string) {
	taken = make(chan string, 1) // one is written at a time
	p := w.datagrams(w.backends, addr)
	go func() {
		b := make([]byte, 64)
		for {
			n, from, err := p.ReadFrom(b)
			if err != nil || n < 2 {
				return
			}
			e := &tftpEnd{w.datagrams(w.backends, net.JoinHostPort(host(p.LocalAddr()), "0")), from}
			if binary.BigEndian.Uint16(b) == tftpRead {
				_ = e.send(tftpText(name, host(from))) // the client tells
				continue
			}
			if err := e.put(tftpAck, 0, nil); err != nil {
				continue
			}
			if text, err := e.receive(); err == nil {
				taken <- text
			}
		}
	}()
	return taken
}

// datagrams is a socket in a namespace. It takes packets of anybody, as clients of
// TFTP have to.
func (w *world) datagrams(ns netns.NsHandle, addr string) (c net.PacketConn) {
	w.in(ns, func() {
		var err error
		c, err = net.ListenPacket("udp", addr)
		w.must(err)
	})
	w.t.Cleanup(func() { c.Close() })
	return c
}

// tftpAsk begins a transfer; whoever answers is the peer.
func tftpAsk(w *world, op uint16, addr string, timeout time.Duration) (*tftpEnd, error) {
	c := w.datagrams(w.client, ":0")
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	request := append(binary.BigEndian.AppendUint16(nil, op), "file\x00octet\x00"...)
	_, err := c.WriteTo(request, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	return &tftpEnd{PacketConn: c}, err
}

// TestHelperTFTP fetches and stores a file of several blocks. The client has to
// see all of them come from the VIP, though from another port than it asked, and
// its answers to that port have to reach the backend. Without the helper they come
// from an address that it never asked.
func TestHelperTFTP(t *testing.T) {
	w := newWorld(t)
	a := needHelper(w, "tftp")
	taken := tftpServer(w, "b1", "10.0.2.11:6900")
	taken6 := tftpServer(w, "b1", "[fd00:2::11]:6900")
	tftp := func(t *core.Traffic) { t.Helper = "tftp" }
	b, b6 := backend("b1", "10.0.2.11:6900", core.Slots), backend("b1", "[fd00:2::11]:6900", core.Slots)
	plain, masq := with(service("tftp", "10.0.9.1:69", core.UDP, b), tftp), forwarding(with(service("tftp-masq", "10.0.9.1:70", core.UDP, b), tftp), core.Masquerade)
	v6 := with(service("tftp6", "[fd00:9::1]:69", core.UDP, b6), tftp)
	none := service("tftp-none", "10.0.9.1:71", core.UDP, b)
	mustSync(t, a, plan(plain, masq, v6, none))

	for _, s := range []core.ServicePlan{plain, masq, v6} {
		vip := s.First().Addr().String()
		e, err := tftpAsk(w, tftpRead, serviceAddr(s), patience)
		w.must(err)
		got, err := e.receive()
		if err != nil || got != tftpText("b1", seenClient(s)) || host(e.peer) != vip || e.peer.String() == serviceAddr(s) {
			t.Errorf("%s, read: got %q from %v, %v: want %q from another port of %s", s.Name, got, e.peer, err, tftpText("b1", seenClient(s)), vip)
		}
		e, err = tftpAsk(w, tftpWrite, serviceAddr(s), patience)
		w.must(err)
		if _, err := e.want(tftpAck, 0); err != nil || host(e.peer) != vip {
			t.Errorf("%s, write: answer of %v, %v: want one of %s", s.Name, e.peer, err, vip)
			continue
		}
		if err := e.send(tftpText("client", vip)); err != nil {
			t.Errorf("%s, write: %v", s.Name, err)
			continue
		}
		at := taken
		if s.First().Addr().Is6() {
			at = taken6
		}
		if got := take(t, at); got != tftpText("client", vip) {
			t.Errorf("%s, write: the backend got %q", s.Name, got)
		}
	}
	e, err := tftpAsk(w, tftpRead, serviceAddr(none), patience)
	w.must(err)
	if _, err := e.want(tftpData, 1); err != nil || host(e.peer) != "10.0.2.11" {
		t.Errorf("without the helper: answer of %v, %v: want one of 10.0.2.11, or the test proves nothing", e.peer, err)
	}
}

// needHelper opens an Applier in the balancer and skips the test where the kernel
// has no such helper.
func needHelper(w *world, name string) (a *Applier) {
	w.in(w.balancer, func() { a = open(w.t, Config{}) })
	for _, f := range a.Features() {
		if f.Name == helperFeature(name) && !f.Present {
			giveUp(w.t, "this kernel has no %s: %s", f.Name, f.Remedy)
		}
	}
	return a
}

// take waits for what is to come.
func take[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Errorf("nothing came in %v", patience)
	}
	return v
}
