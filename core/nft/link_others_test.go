// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/steelyard-lb/steelyard/core"
)

// TestLinkLeavesFramesForOthers: what is flooded and meant for another balancer is
// forwarded by that one alone.
func TestLinkLeavesFramesForOthers(t *testing.T) {
	for _, f := range []core.Forwarding{core.DSR, core.Stateless} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			w := newLinkWorld(t)
			w.sync(w.plan(f, time.Minute))
			conn := w.datagrams()
			answers := 0
			w.ask(conn, "first")
			w.gateway("02:00:00:00:00:99")
			for range 5 {
				_, err := conn.Write([]byte("for another balancer\n"))
				w.must(err)
			}
			w.gateway("")
			// Answers of one backend come in the order of the questions.
			for range 3 {
				w.ask(conn, "again")
			}
			w.must(conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)))
			for b := make([]byte, 64); ; answers++ {
				if _, err := conn.Read(b); err != nil {
					break
				}
			}
			if answers > 0 {
				t.Errorf("%d datagrams that were for another balancer were answered", answers)
			}
		})
	}
}

// datagrams is a UDP flow from the client to the service.
func (w *linkWorld) datagrams() (conn net.Conn) {
	w.in(w.client, func() {
		var err error
		conn, err = net.Dial("udp", "10.0.9.1:80")
		w.must(err)
	})
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

// ask sends a line and reads one answer.
func (w *linkWorld) ask(conn net.Conn, what string) {
	w.t.Helper()
	_, err := fmt.Fprintln(conn, what)
	w.must(err)
	w.must(conn.SetReadDeadline(time.Now().Add(patience)))
	_, err = conn.Read(make([]byte, 64))
	w.must(err)
}

// gateway gives the client another link address for the balancer; empty: its own.
func (w *linkWorld) gateway(mac string) {
	var own net.HardwareAddr
	w.in(w.balancer, func() { own = w.linkNamed("c0").Attrs().HardwareAddr })
	if mac != "" {
		var err error
		own, err = net.ParseMAC(mac)
		w.must(err)
	}
	w.in(w.client, func() {
		w.must(netlink.NeighSet(&netlink.Neigh{
			LinkIndex: w.linkNamed("c1").Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP("10.0.1.1"), HardwareAddr: own,
		}))
	})
}
