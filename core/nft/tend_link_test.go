// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"testing"
	"time"
)

// TestTendSettles re-weights and lets time pass, with nobody talking: what moved
// is stable again, as the deal and the kernel's maps say, and Tend wants no call.
func TestTendSettles(t *testing.T) {
	newNetns(t)
	needLinkReject(t)
	a := open(t, Config{Unowned: true})
	var now time.Duration
	a.clock = func() time.Duration { return now }
	p := linkGoldens()["dsr"]
	mustSync(t, a, p)
	tend := func() time.Duration {
		again, err := a.Tend(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	if again := tend(); again != 0 {
		t.Fatalf("nothing moves, and Tend wants to be called in %v", again)
	}
	p.Services[0] = weighed(p.Services[0], 1, 3)
	if _, err := a.Reweight(context.Background(), p.Services); err != nil {
		t.Fatal(err)
	}
	calls := 0
	for again := tend(); again > 0; again = tend() {
		now += again
		calls++
	}
	if least := p.Services[0].FlowTimeout; now < least || calls > 10 {
		t.Errorf("settled after %v and %d calls: want at least %v", now, calls, least)
	}
	if got := listTable(t); got != Render(p) {
		t.Error("the settled table is not as if it had been made so")
	}
}
