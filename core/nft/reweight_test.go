// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// drawSlots is any vector of n slots that adds up to core.Slots, or to 0: few
// backends with all, many with next to none, zeroes and ones among them.
func drawSlots(t *rapid.T, n int) []uint32 {
	if n == 0 || rapid.IntRange(0, 9).Draw(t, "empty") == 0 {
		return make([]uint32, n)
	}
	cuts := rapid.SliceOfN(rapid.Uint32Range(0, core.Slots), n-1, n-1).Draw(t, "cuts")
	slices.Sort(cuts)
	cuts = append(cuts, core.Slots)
	slots, at := make([]uint32, n), uint32(0)
	for i, c := range cuts {
		slots[i], at = c-at, c
	}
	return slots
}

// nudgeSlots moves a few slots between two backends: what a delta is for.
func nudgeSlots(t *rapid.T, s *core.ServicePlan) {
	i, j := rapid.IntRange(0, len(s.Backends)-1).Draw(t, "from"), rapid.IntRange(0, len(s.Backends)-1).Draw(t, "to")
	n := rapid.Uint32Range(0, s.Backends[i].Slots).Draw(t, "slots")
	s.Backends[i].Slots -= n
	s.Backends[j].Slots += n
}

// TestReweightProperty takes services of 1 to 40 backends through random
// vectors. The kernel must carry each one, whichever way it came there, and
// nothing but elements may have been touched.
func TestReweightProperty(t *testing.T) {
	newNetns(t)
	plan := core.Plan{}
	for i, n := range []int{1, 2, 16, 17, 40} {
		s := manyServices(6, n).Services[i]
		plan.Services = append(plan.Services, s)
	}
	a := open(t, Config{})
	mustSync(t, a, plan)
	rules := ruleHandles(t)
	var r weightsReader
	rapid.Check(t, func(t *rapid.T) {
		var list []core.ServicePlan
		for i := range plan.Services {
			s := clonePlan(&plan.Services[i])
			switch rapid.SampledFrom([]string{"leave", "nudge", "any"}).Draw(t, "how") {
			case "leave":
			case "nudge":
				nudgeSlots(t, s)
			default:
				for j, n := range drawSlots(t, len(s.Backends)) {
					s.Backends[j].Slots = n
				}
			}
			list = append(list, *s)
		}
		if _, err := a.Reweight(context.Background(), list); err != nil {
			t.Fatal(err)
		}
		copy(plan.Services, list)
		for i := range list {
			m, err := a.w.weights(DefaultTable, compileWeights(&list[i], seat{}).sets[0], &r)
			got := m.intervals
			if err != nil {
				t.Fatal(err)
			}
			if want := intervals(nil, &list[i], list[i].First().Addr().Is6()); !slices.Equal(got, want) {
				t.Fatalf("service %s: the kernel has\n%v, want\n%v", list[i].Name, got, want)
			}
		}
	})
	if got := ruleHandles(t); got != rules {
		t.Error("a re-weight changed rules: their handles differ")
	}
	if diff := cmp.Diff(plan, inKernel(t, a), comparePlans); diff != "" {
		t.Errorf("-want +kernel:\n%s", diff)
	}
}

// ruleHandles lists chains and rules with their handles, without the elements.
func ruleHandles(t *testing.T) string { return nftOutput(t, "-a", "-t", "list", "ruleset") }

func TestReweightIsOneTransactionOfElements(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	p := manyServices(30, 20)
	before := mustSync(t, a, p).Generation
	for i := range p.Services {
		p.Services[i].Backends[3].Slots--
		p.Services[i].Backends[4].Slots++
	}
	c, err := a.Reweight(context.Background(), p.Services)
	// 20 intervals: the delta is the two that share the moved boundary.
	if err != nil || c.Generation != before+1 || c.Changed != 30*4 {
		t.Errorf("%+v, %v: want one generation and 120 elements", c, err)
	}
	again, err := a.Reweight(context.Background(), p.Services)
	if err != nil || again.Generation != c.Generation || again.Changed != 0 {
		t.Errorf("the same again: %+v, %v: want nothing done", again, err)
	}
}

func TestReweightRefusesWhatIsNotInForce(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	p := manyServices(3, 2)
	mustSync(t, a, p)
	list := slices.Clone(p.Services)
	for i := range list {
		list[i] = *clonePlan(&list[i])
		list[i].Backends[0].Slots, list[i].Backends[1].Slots = 1, 65535
	}
	list[0].Name = "stranger"
	list[1].Backends[0].Addr = list[1].Backends[1].Addr
	_, err := a.Reweight(context.Background(), list)
	var refused *RefusedError
	if !errors.As(err, &refused) || len(refused.Services) != 2 || refused.Services["stranger"] == nil || refused.Services["s0001"] == nil {
		t.Fatalf("reweight: %v: want stranger and s0001 refused", err)
	}
	p.Services[2] = list[2]
	if diff := cmp.Diff(p, inKernel(t, a), comparePlans); diff != "" {
		t.Errorf("-want +kernel:\n%s", diff)
	}
}

// Where others may change the table, one map that they broke must not keep the
// other services from their weights.
func TestReweightOfABrokenMap(t *testing.T) {
	newNetns(t)
	a := open(t, Config{Unowned: true})
	p := manyServices(3, 30) // large enough for a delta
	mustSync(t, a, p)
	nftOutput(t, "flush", "map", "inet", DefaultTable, "w-s0001")
	for i := range p.Services {
		p.Services[i].Backends[3].Slots--
		p.Services[i].Backends[4].Slots++
	}
	_, err := a.Reweight(context.Background(), p.Services)
	var refused *RefusedError
	if !errors.As(err, &refused) || len(refused.Services) != 1 || !errors.Is(err, unix.ENOENT) {
		t.Fatalf("reweight: %v: want ENOENT for s0001", err)
	}
	if !strings.Contains(err.Error(), "s0001") {
		t.Errorf("%v: want the service's name in it", err)
	}
	mustSync(t, a, p)
	if diff := cmp.Diff(p, inKernel(t, a), comparePlans); diff != "" {
		t.Errorf("-want +kernel:\n%s", diff)
	}
}

// A copy of a plan holds its QoS elsewhere, and asks for the same.
func TestReweightOfACopy(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	marked := withQoS(service("web", "192.0.2.1:80", core.TCP, backend("a", "198.51.100.1:80", core.Slots), backend("b", "198.51.100.2:80", 0)),
		core.QoS{DSCP: ptr(uint8(46)), Priority: ptr(uint32(0x1_0020))})
	mustSync(t, a, plan(marked))
	again := copyPlan(t, plan(weighed(marked, 1, 1)))
	if _, err := a.Reweight(context.Background(), again.Services); err != nil {
		t.Errorf("the same QoS: %v", err)
	}
	again.Services[0].Backends[1].QoS.DSCP = ptr(uint8(10))
	if _, err := a.Reweight(context.Background(), again.Services); err == nil {
		t.Error("another DSCP is taken for a re-weight")
	}
}
