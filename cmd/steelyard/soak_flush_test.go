// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/nft"
)

// TestSoakFlushOfAnOwnedTable has nft flush the ruleset all the time. The
// kernel keeps it away from a table that has an owner: clients must not notice.
func TestSoakFlushOfAnOwnedTable(t *testing.T) {
	r := newRig(t, soakBackends)
	r.soaking()
	if v, err := r.client.Node(t.Context()); err != nil || !v.Kernel.Owned {
		give := t.Skipf
		if os.Getenv("CI") != "" {
			give = t.Fatalf
		}
		give("the kernel has no tables with an owner: %v", err)
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

// TestSoakFlushOfAnOpenTable does the same to a table without an owner, as on
// kernels before 6.9: each time the daemon must notice, say who did it, and put
// the table back. What clients lose in between is counted. It hangs on what else
// there is: see docs/dataplane.md, "When somebody else flushes the ruleset".
func TestSoakFlushOfAnOpenTable(t *testing.T) {
	const nowhere = "ip address delete %[1]s/32 dev lo; ip route add blackhole %[1]s/32"
	// Keeps conntrack and NAT at work while no table of nftables asks for them.
	const anchor = "iptables-legacy -t nat -A POSTROUTING -d 0.0.0.0/32 -m conntrack --ctstate NEW -j MASQUERADE"
	refused, reset, late := syscall.ECONNREFUSED.Error(), syscall.ECONNRESET.Error(), errLate.Error()
	tests := []struct {
		name, prepare string
		needs         string   // a command
		may           []string // how new connections may fail
		mayBreak      []string // how open ones may
	}{
		// The VIP is an address of the balancer, where nothing listens: it answers
		// a SYN with a reset, and an open connection's packet too. An answer of a
		// backend goes out untranslated; the client resets what it does not know,
		// and waits in vain.
		{"as it is", "", "ip", []string{refused, reset, late}, []string{reset, late}},
		// A packet that comes in the gap is lost, and sent again; with a flush each
		// 40 ms or so one SYN may be lost three times. A new map of weights is empty
		// for some 20 µs: a connection of that moment is refused.
		{"the VIP leads nowhere", nowhere, "ip", []string{refused, reset, late}, []string{reset, late}},
		{"NAT of iptables beside it", anchor, "iptables-legacy", []string{refused, reset}, nil},
		{"both", nowhere + ";" + anchor, "iptables-legacy", []string{refused, late}, nil},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if i > 0 && !soakLong {
				t.Skip("only in make soak")
			}
			if _, err := exec.LookPath(tt.needs); err != nil {
				t.Fatalf("make soak installs it: %v", err)
			}
			f := newFlusher(t, strings.ReplaceAll(tt.prepare, "%[1]s", "203.0.113.10"))
			f.flush()
			f.explained("new connections", f.load.asked, tt.may)
			f.explained("open connections", f.load.talked, tt.mayBreak)
			f.repaired()
		})
	}
}

// A flusher flushes the ruleset while there is a load, and times the repairs.
type flusher struct {
	*rig
	look   *look
	load   *load
	drifts func(atLeast int) []core.Event
	gaps   []time.Duration
}

// newFlusher starts the daemon without an owner of its table, after some commands
// in the balancer.
func newFlusher(t *testing.T, prepare string) *flusher {
	r := newRig(t, soakBackends)
	r.patience = 3 * time.Second // some wait in vain
	if out, err := r.lab.Balancer.Command(t.Context(), "sh", "-ec", prepare); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r.soaking("--unowned")
	return &flusher{rig: r, drifts: r.follow(), look: r.newLook(), load: r.load()}
}

// flush flushes as soon as the repair is done and some clients have come through.
func (f *flusher) flush() {
	f.t.Helper()
	for deadline := time.Now().Add(choose(time.Second, 10*time.Second)); time.Now().Before(deadline); {
		if out, err := f.lab.Balancer.Command(f.t.Context(), "nft", "flush", "ruleset"); err != nil {
			f.t.Fatalf("%v\n%s", err, out)
		}
		began := time.Now()
		for !f.look.there() {
			if time.Since(began) > 20*time.Second {
				f.t.Fatal("the table is not back")
			}
			wait(time.Millisecond)
		}
		f.gaps = append(f.gaps, time.Since(began))
		wait(20 * time.Millisecond)
	}
	text := f.load.ended()
	slices.Sort(f.gaps)
	f.t.Logf("%d flushes; the table was back after %s in the middle, %s at most; %s", len(f.gaps),
		f.gaps[len(f.gaps)/2].Round(time.Millisecond), f.gaps[len(f.gaps)-1].Round(time.Millisecond), text)
}

// explained checks that connections failed in no other way than these.
func (f *flusher) explained(which string, got *tally, may []string) {
	f.t.Helper()
	for cause, n := range got.failed {
		if !slices.Contains(may, cause) {
			f.t.Errorf("%d %s failed for a reason that a missing table does not explain: %s", n, which, cause)
		}
	}
}

// repaired checks that all is as before.
func (f *flusher) repaired() {
	f.t.Helper()
	f.untilShares("web", 33.3, 33.3, 33.3)
	if got := f.askMany("tcp", f.vip4(80), 100, nil); len(got.failed) > 0 {
		f.t.Errorf("after the last repair: failed %v", got.failed)
	}
	f.attributed(f.drifts(2*len(f.gaps)), len(f.gaps))
}

// attributed checks that drift was told as it is: who, and what.
func (r *rig) attributed(events []core.Event, flushes int) {
	r.t.Helper()
	v, err := r.client.Node(r.t.Context())
	if err != nil || v.Kernel.Drifts < uint64(flushes) {
		r.t.Errorf("%d drifts after %d flushes, %v", v.Kernel.Drifts, flushes, err)
	}
	var warned, unknown, repaired int
	for _, e := range events {
		switch {
		case e.Severity != core.Warn:
			repaired++
		case !strings.Contains(e.Message, "the table is gone"):
			r.t.Errorf("drift is told as %q: want that the table is gone", e.Message)
		case strings.Contains(e.Message, "by nft"):
			warned++
		default: // looked at before the kernel had said who
			unknown++
		}
	}
	r.t.Logf("%d events of drift by nft, %d by nobody known, %d of its repair", warned, unknown, repaired)
	if warned+unknown < flushes || repaired < flushes || unknown > max(1, flushes/10) {
		r.t.Errorf("want %d of drift by nft, and as many of repair", flushes)
	}
}

// follow collects events of drift from now on. The returned function waits until
// there are so many, and ends that.
func (r *rig) follow() func(atLeast int) []core.Event {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	var events []core.Event
	var count atomic.Int64         // of events
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
			count.Add(1)
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
	return func(atLeast int) []core.Event {
		r.until("every drift and every repair is told", func() error {
			if n := count.Load(); n < int64(atLeast) {
				return fmt.Errorf("%d events, want %d", n, atLeast)
			}
			return nil
		})
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
