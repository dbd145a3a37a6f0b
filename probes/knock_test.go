// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// TestTCPIsNotHeardOf: the program behind a port hears nothing of a mere connect. What
// it accepts first is the connection that comes after ten probes, and none of them waits
// in TIME_WAIT.
func TestTCPIsNotHeardOf(t *testing.T) {
	for _, on := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(on, func(t *testing.T) {
			l, err := net.Listen("tcp", on)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			addr := netip.MustParseAddrPort(l.Addr().String())
			before := timeWaits(t, addr.Port()) // of a server that had this port before
			for range 10 {
				if s := ask(t, tcpTarget(addr)); !s.OK {
					t.Fatalf("%s %s", s.Code, s.Detail)
				}
			}
			if n := timeWaits(t, addr.Port()) - before; n > 0 {
				t.Errorf("%d probes are in TIME_WAIT", n)
			}
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = server.Close() })
			if got, want := server.RemoteAddr().String(), client.LocalAddr().String(); got != want {
				t.Errorf("the server accepted %s, want %s", got, want)
			}
		})
	}
}

// timeWaits is how many connections to a port of this machine are in TIME_WAIT.
func timeWaits(t *testing.T, port uint16) (n int) {
	t.Helper()
	for _, family := range []string{"tcp", "tcp6"} {
		raw, err := os.ReadFile("/proc/thread-self/net/" + family)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			const timeWait = "06"
			f := strings.Fields(line) // sl, local, remote, state
			if len(f) > 3 && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", port)) && f[3] == timeWait {
				n++
			}
		}
	}
	return n
}

// TestManyComeInTurn: of a large fleet each target takes its part of firstRuns a second.
func TestManyComeInTurn(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		const targets, within = firstRuns, time.Second
		b := newBench(nil)
		b.SetTargets(fleetOf(targets, time.Minute))
		start := time.Now()
		b.start()
		time.Sleep(within)
		b.stop()
		var quarters [4]int
		for _, s := range b.samples {
			quarters[min(3, int(4*s.TakenAt.Sub(start)/within))]++
		}
		for q, n := range quarters {
			if n < targets/5 || n > targets*3/10 {
				t.Errorf("%d first runs in quarter %d of the first second, want about %d", n, q, targets/4)
			}
		}
	})
}
