// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// What a packet meets while nothing moves is what these services are for. The
// numbers are those of docs/dataplane.md.
func TestLinkSteadyCost(t *testing.T) {
	for _, test := range []struct {
		name string
		f    core.Forwarding
		p    core.Protocol
		port string
		want int
	}{
		{"dsr", core.DSR, core.TCP, "0", 17},
		{"stateless", core.Stateless, core.TCP, "8080", 21},
		{"stateless udp", core.Stateless, core.UDP, "8080", 23},
		{"stateless, port kept", core.Stateless, core.UDP, "0", 17},
	} {
		s := untracked(service("web", "192.0.2.10:80", test.p, backend("b", "198.51.100.1:"+test.port, core.Slots)), test.f, core.BySourcePort)
		var n needs
		n.link.add(&s)
		shared := &fragment{}
		n.link.share(shared)
		got := expressions(shared.link.chain("ingress.lo").rules[0]) + expressions(compile(&s).link.chain("svc-web").rules[0])
		if got != test.want {
			t.Errorf("%s: %d expressions, want %d", test.name, got, test.want)
		}
	}
}

func expressions(r rule) (n int) {
	for list := (nlmsg.Attrs{Rest: r.raw}); list.Next(); {
		n++
	}
	return n
}
