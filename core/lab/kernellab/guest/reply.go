// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// trip sends one packet and checks that it arrives at a backend as the case
// means it to. If answer is set, the backend answers, and the answer has to
// reach the client as one to what it sent.
func (m *meter) trip(f flow, answer bool) error {
	at, err := m.packetSocket(m.server, "s0")
	if err != nil {
		return err
	}
	defer closeFD(at)
	if err := m.sendOne(f); err != nil {
		return err
	}
	got, err := receive(at)
	if err != nil {
		return fmt.Errorf("at the backend: %w", err)
	}
	if err := m.c.arrivesAs(f, got); err != nil {
		return err
	}
	if !answer || m.c.direct {
		return nil
	}
	return m.answer(at, f, got)
}

func (m *meter) answer(at int, f, got flow) error {
	back, err := m.packetSocket(m.client, "c0")
	if err != nil {
		return err
	}
	defer closeFD(back)
	if _, err := unix.Write(at, frame(m.b1, m.b1, got.reversed())); err != nil {
		return err
	}
	reply, err := receive(back)
	if err != nil {
		return fmt.Errorf("the answer at the client: %w", err)
	}
	if reply != f.reversed() {
		return fmt.Errorf("the answer to %v arrived as %v", f, reply)
	}
	return nil
}

// establish makes theFlow one that conntrack calls assured, where there is
// conntrack: for UDP that takes an answer, and traffic two seconds later.
func (m *meter) establish() error {
	for range 3 {
		if err := m.trip(m.theFlow(), true); err != nil {
			return err
		}
		time.Sleep(3 * time.Second)
	}
	return nil
}

// packetSocket opens a socket that sees what passes a link of a namespace. None
// may be open while something is counted.
func (w *world) packetSocket(ns netns.NsHandle, link string) (fd int, err error) {
	err = w.in(ns, func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		const ipv4 = unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8 // in network order
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index, Protocol: ipv4})
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("open packet socket on %s: %w", link, err)
	}
	return fd, nil
}

// receive waits for the next UDP packet that comes in on a packet socket.
func receive(fd int) (flow, error) {
	deadline := time.Now().Add(time.Second)
	buf := make([]byte, 2048)
	for time.Now().Before(deadline) {
		n, from, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			return flow{}, err
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if f, err := parseFrame(buf[:n]); err == nil {
			return f, nil
		}
	}
	return flow{}, errors.New("no packet arrived")
}

// flushConntrack forgets all connections of the namespace.
func flushConntrack() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) }

// closeFD closes a socket that nothing was promised about.
func closeFD(fd int) { _ = unix.Close(fd) }
