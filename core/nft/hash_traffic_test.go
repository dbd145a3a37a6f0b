// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/vishvananda/netlink"
)

// TestTrafficHash opens flows from many ports and addresses, of both families, and
// does so again after conntrack has forgotten them: the kernel has nothing but its
// hash then, which must lead each to the backend that it had. The shares are the
// weights'. A table that is made anew, as on another node, agrees, but for symhash.
func TestTrafficHash(t *testing.T) {
	const flows = 200
	type kind struct {
		name string
		d    core.Distribution
		key  core.HashKey
		v6   bool
	}
	var kinds []kind
	for _, v6 := range []bool{false, true} {
		kinds = append(kinds, kind{"symhash", core.SymHash, core.BySource, v6}, kind{"port", core.Hash, core.BySourcePort, v6}, kind{"source", core.Hash, core.BySource, v6})
	}
	var p core.Plan
	for i, k := range kinds {
		vip, addrs := fmt.Sprintf("10.0.9.1:%d", 90+i), []string{"10.0.2.11:8080", "10.0.2.12:8080"}
		if k.v6 {
			vip, addrs = fmt.Sprintf("[fd00:9::1]:%d", 90+i), []string{"[fd00:2::11]:8080", "[fd00:2::12]:8080"}
		}
		s := service(fmt.Sprintf("%d-%s", i, k.name), vip, core.UDP, backend("b1", addrs[0], 49152), backend("b2", addrs[1], 16384))
		p.Services = append(p.Services, distributed(s, k.d, k.key))
	}
	w, a := newTraffic(t, p)
	w.in(w.client, func() {
		for i := range flows {
			w.up("c1", fmt.Sprintf("10.0.1.%d/24", 20+i), fmt.Sprintf("fd00:1::1:%x/64", i+1))
		}
	})
	ask := func(i int) (got [flows]string) {
		w.in(w.client, func() {
			for f := range flows {
				from := netip.MustParseAddrPort(fmt.Sprintf("10.0.1.2:%d", 20000+f))
				switch k := kinds[i]; {
				case k.name == "source" && k.v6:
					from = netip.MustParseAddrPort(fmt.Sprintf("[fd00:1::1:%x]:20000", f+1))
				case k.name == "source":
					from = netip.MustParseAddrPort(fmt.Sprintf("10.0.1.%d:20000", 20+f))
				case k.v6:
					from = netip.AddrPortFrom(netip.MustParseAddr("fd00:1::2"), from.Port())
				}
				var err error
				got[f], _, err = askFrom("udp", from.String(), serviceAddr(p.Services[i]), patience)
				w.must(err)
			}
		})
		return got
	}
	forget := func() {
		w.in(w.balancer, func() { w.must(netlink.ConntrackTableFlush(netlink.ConntrackTable)) })
	}
	moved := func(x, y [flows]string) (n int) {
		for f := range x {
			if x[f] != y[f] {
				n++
			}
		}
		return n
	}
	first := make([][flows]string, len(kinds))
	for i, k := range kinds {
		first[i] = ask(i)
		n := 0
		for _, name := range first[i] {
			if name == "b1" {
				n++
			}
		}
		if want, five := flows*3/4, int(5*math.Sqrt(flows*3.0/16)); n < want-five || n > want+five {
			t.Errorf("%+v: %d of %d flows to b1: want %d±%d", k, n, flows, want, five)
		}
		forget()
		if n := moved(first[i], ask(i)); n > 0 {
			t.Errorf("%+v: %d of %d flows got another backend", k, n, flows)
		}
	}
	if err := a.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	forget()
	if _, refused, err := a.Sync(t.Context(), p); err != nil || len(refused) > 0 {
		t.Fatal(errors.Join(err, errorOf(refused)))
	}
	for i, k := range kinds {
		if n := moved(first[i], ask(i)); n > 0 && k.d == core.Hash {
			t.Errorf("%+v: %d of %d flows got another backend of a table made anew", k, n, flows)
		}
	}
}
