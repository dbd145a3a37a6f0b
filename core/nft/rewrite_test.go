// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// No connection fails while the weights are rewritten as fast as the kernel
// takes them, over all shapes of change: a few slots, most slots, a backend out
// and in again.
func TestNoConnectionFailsWhileWeightsAreRewritten(t *testing.T) {
	l := labtest.New(t, lab.Config{Backends: 2})
	for _, n := range l.Backends {
		answer(t, n)
	}
	plan := plan(service("web", netip.AddrPortFrom(l.VIP4, 80).String(), core.TCP,
		backend("b1", netip.AddrPortFrom(l.Backends[0].Addr4, 80).String(), 32768),
		backend("b2", netip.AddrPortFrom(l.Backends[1].Addr4, 80).String(), 32768)))
	var a *Applier
	if err := l.Balancer.Do(func() (err error) { a, err = Open(Config{}); return err }); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, refused, err := a.Sync(t.Context(), plan); err != nil || len(refused) > 0 {
		t.Fatalf("sync: %v, %v", err, refused)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var asked, failed atomic.Int64
	var first atomic.Value
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				asked.Add(1)
				if err := once(t, l, netip.AddrPortFrom(l.VIP4, 80)); err != nil {
					failed.Add(1)
					first.CompareAndSwap(nil, err.Error())
				}
			}
		})
	}
	slots := []uint32{0, 1, 30000, 43690, 43691, 65535, 65536}
	const enough = 500 // of both; a machine that is fast does more in the time
	var commits int
	for began := time.Now(); ctx.Err() == nil; commits++ {
		if min(int(asked.Load()), commits) >= enough && time.Since(began) > 3*time.Second {
			break
		}
		if commits > 10*int(asked.Load()) {
			time.Sleep(time.Millisecond) // on one processor the clients have to have their turn
		}
		s := plan.Services[0]
		s.Backends = []core.BackendPlan{s.Backends[0], s.Backends[1]}
		s.Backends[0].Slots = slots[commits%len(slots)]
		s.Backends[1].Slots = core.Slots - s.Backends[0].Slots
		if _, err := a.Reweight(t.Context(), []core.ServicePlan{s}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	wg.Wait()
	t.Logf("%d connections over %d commits, %d failed", asked.Load(), commits, failed.Load())
	if failed.Load() > 0 {
		t.Errorf("%d of %d connections failed, the first: %v", failed.Load(), asked.Load(), first.Load())
	}
	if min(int(asked.Load()), commits) < enough {
		t.Errorf("only %d connections and %d commits: this shows nothing", asked.Load(), commits)
	}
}

// answer accepts connections in a node and sends one byte on each.
func answer(t *testing.T, n *lab.Node) {
	t.Helper()
	ln, err := n.Listen("tcp", netip.AddrPortFrom(n.Addr4, 80).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = c.Write([]byte("x"))
				_, _ = c.Read(make([]byte, 1)) // the client closes first
				c.Close()
			}()
		}
	}()
}

// once makes one connection and reads the byte.
func once(t *testing.T, l *lab.Lab, vip netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := l.Client.DialContext(ctx, "tcp", vip.String())
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = c.Read(make([]byte, 1))
	return err
}
