// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A transaction that does not fit the send buffer, as without privileges over
// net.core.wmem_max, is parted until it does.
func TestSmallSendBuffer(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	if err := a.w.conn.SetWriteBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	p := manyServices(200, 8) // some 500 KiB
	mustSync(t, a, p)
	if diff := cmp.Diff(p, inKernel(t, a), comparePlans); diff != "" {
		t.Errorf("-want +kernel:\n%s", diff)
	}
}

// When the answer to a transaction is lost, what the kernel carries decides.
func TestLostAnswer(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	p := manyServices(2, 2)
	mustSync(t, a, plan(p.Services[0]))
	r := result{}
	j := job{list: []*change{changeOf(nil, &p.Services[0]), changeOf(nil, &p.Services[1])}}
	if err := a.settle(context.Background(), j, &r, unix.ENOBUFS); err != nil {
		t.Fatal(err)
	}
	if len(r.done) != 1 || r.done[0].name != "s0000" {
		t.Errorf("done %v: want s0000, which is in the kernel", r.done)
	}
	if len(r.refused) != 1 || !errors.Is(r.refused["s0001"], unix.ENOBUFS) {
		t.Errorf("refused %v: want s0001, which is not", r.refused)
	}
	err := a.settle(context.Background(), j, &result{}, &notCommitted{unix.ENOBUFS})
	if !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("after a generation that did not move: %v, want ENOBUFS", err)
	}
}

// Cancelled work is not begun, and leaves what is there.
func TestCancelled(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	p := manyServices(2, 2)
	mustSync(t, a, p)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	q := manyServices(2, 3)
	if _, _, err := a.Sync(ctx, q); !errors.Is(err, context.Canceled) {
		t.Errorf("sync: %v, want context canceled", err)
	}
	p.Services[0].Backends[0].Slots, p.Services[0].Backends[1].Slots = 1, 65535
	if _, err := a.Reweight(ctx, p.Services); !errors.Is(err, context.Canceled) {
		t.Errorf("reweight: %v, want context canceled", err)
	}
	if got := inKernel(t, a); !cmp.Equal(got, manyServices(2, 2), comparePlans) {
		t.Errorf("-want +kernel:\n%s", cmp.Diff(manyServices(2, 2), got, comparePlans))
	}
}

// Counters may be read while the owner writes.
func TestCountersBesideWrites(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	p := manyServices(50, 8)
	mustSync(t, a, p)
	done := make(chan error, 1) // one result
	go func() {
		for range 20 {
			if all, err := a.Counters(context.Background()); err != nil || len(all) != 50*9 {
				done <- errors.Join(err, errors.New("not every counter was there"))
				return
			}
		}
		done <- nil
	}()
	for i := range 50 {
		for j := range p.Services {
			p.Services[j].Backends[0].Slots = uint32(8192 + i)
			p.Services[j].Backends[7].Slots = uint32(8192 - i)
		}
		if _, err := a.Reweight(context.Background(), p.Services); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestFlush(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	for range 2 { // the second time there is nothing to do
		if err := a.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	mustSync(t, a, manyServices(2, 2))
	if err := a.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if out := nftOutput(t, "list", "ruleset"); out != "" {
		t.Errorf("left behind:\n%s", out)
	}
	if n, err := a.Counters(context.Background()); err != nil || len(n) != 0 {
		t.Errorf("counters without a table: %v, %v", n, err)
	}
	mustSync(t, a, manyServices(2, 2))
}
