// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/nft"
)

// TestForeignFlushOfAnOwnedTable has nft flush the ruleset all the time. The
// kernel keeps it away from a table that has an owner: clients must not notice.
func TestForeignFlushOfAnOwnedTable(t *testing.T) {
	r := newRig(t, soakBackends)
	r.soaking()
	if v, err := r.client.Node(t.Context()); err != nil || !v.Kernel.Owned {
		t.Skipf("the kernel has no tables with an owner: %v", err)
	}
	l := r.load()
	flushes := 0
	for deadline := time.Now().Add(choose(time.Second, 10*time.Second)); time.Now().Before(deadline); flushes++ {
		if out, err := r.lab.Balancer.Command(t.Context(), "nft", "flush", "ruleset"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	l.mustBeWhole(fmt.Sprintf("%d flushes of the ruleset", flushes))
	if v, err := r.client.Node(t.Context()); err != nil || v.Kernel.Drifts > 0 {
		t.Errorf("%d drifts of a table that nobody else can change: %v", v.Kernel.Drifts, err)
	}
}

// TestForeignFlushOfAnOpenTable does the same to a table without an owner, as on
// kernels before 6.9: each time the daemon must notice, say who did it, and put
// the table back. What clients lose in between is counted.
func TestForeignFlushOfAnOpenTable(t *testing.T) {
	r := newRig(t, soakBackends)
	r.soaking("--unowned")
	drifts := r.follow()
	look := r.newLook()
	l := r.load()
	var gaps []time.Duration
	for deadline := time.Now().Add(choose(time.Second, 10*time.Second)); time.Now().Before(deadline); {
		if !look.there() {
			t.Fatal("the table was whole a moment ago")
		}
		if out, err := r.lab.Balancer.Command(t.Context(), "nft", "flush", "ruleset"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		began := time.Now()
		for !look.there() {
			if time.Since(began) > 20*time.Second {
				t.Fatalf("the table is not back")
			}
			wait(time.Millisecond)
		}
		gaps = append(gaps, time.Since(began))
		wait(20 * time.Millisecond) // some connections come through, and then
	}
	text := l.ended()
	slices.Sort(gaps)
	t.Logf("%d flushes; the table was back after %s in the middle, %s at most; %s", len(gaps),
		gaps[len(gaps)/2].Round(time.Millisecond), gaps[len(gaps)-1].Round(time.Millisecond), text)
	for cause := range l.asked.failed {
		// Without the table the VIP is an address of the balancer, where nothing
		// listens: its answer to a SYN is a reset, and to a packet of an open
		// connection too.
		if cause != syscall.ECONNREFUSED.Error() && cause != syscall.ECONNRESET.Error() {
			t.Errorf("connections failed for a reason that a missing table does not explain: %s", cause)
		}
	}
	if len(l.asked.by) < soakBackends {
		t.Errorf("answers %v: want some of each backend", l.asked.by)
	}
	r.untilShares("web", 33.3, 33.3, 33.3)
	if got := r.askMany("tcp", r.vip4(80), 100, nil); len(got.failed) > 0 {
		t.Errorf("after the last repair: failed %v", got.failed)
	}
	r.attributed(drifts(), len(gaps))
}

// attributed checks that drift was told as it is: who, and what.
func (r *rig) attributed(events []core.Event, flushes int) {
	r.t.Helper()
	v, err := r.client.Node(r.t.Context())
	if err != nil || v.Kernel.Drifts < uint64(flushes) {
		r.t.Errorf("%d drifts after %d flushes, %v", v.Kernel.Drifts, flushes, err)
	}
	var warned, repaired int
	for _, e := range events {
		switch {
		case e.Severity != core.Warn:
			repaired++
		case !strings.Contains(e.Message, "by nft") || !strings.Contains(e.Message, "the table is gone"):
			r.t.Errorf("drift is told as %q: want that nft did it, and that the table is gone", e.Message)
		default:
			warned++
		}
	}
	r.t.Logf("%d events of drift, %d of its repair; one of the last: %s", warned, repaired, events[max(0, len(events)-2)].Message)
	if warned < flushes || repaired < flushes {
		r.t.Errorf("%d events of drift and %d of its repair after %d flushes", warned, repaired, flushes)
	}
}

// follow collects events of drift from now on, until the returned function is
// called.
func (r *rig) follow() func() []core.Event {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	var events []core.Event
	follows := make(chan struct{}) // closed with the first line of the bus
	begin := sync.OnceFunc(func() { close(follows) })
	var wg sync.WaitGroup
	wg.Go(func() {
		err := r.client.Monitor(ctx, ">", func(l admin.Line) error {
			begin()
			if !strings.Contains(l.Subject, "event.") || !strings.HasSuffix(l.Subject, ".drift") {
				return nil
			}
			var e core.Event
			err := json.Unmarshal(l.Data, &e)
			events = append(events, e)
			return err
		})
		if err != nil {
			r.t.Errorf("monitor: %v", err)
		}
	})
	select {
	case <-follows:
	case <-time.After(20 * time.Second):
		r.t.Fatal("nothing on the bus")
	}
	return func() []core.Event {
		cancel()
		wg.Wait()
		return events
	}
}

// A look sees whether our table is in the kernel. The daemon makes it whole in
// one transaction, so there is no half of it.
type look struct {
	t    *testing.T
	conn *nftables.Conn
}

func (r *rig) newLook() *look {
	r.t.Helper()
	k := &look{t: r.t}
	err := r.lab.Balancer.Do(func() (err error) {
		k.conn, err = nftables.New(nftables.AsLasting())
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = k.conn.CloseLasting() })
	return k
}

func (k *look) there() bool {
	k.t.Helper()
	list, err := k.conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		k.t.Fatal(err)
	}
	return slices.ContainsFunc(list, func(t *nftables.Table) bool { return t.Name == nft.DefaultTable })
}
