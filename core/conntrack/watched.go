// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// A Watched is one backend whose connections are counted: those that a client
// made to one of the Frontends and that one of the Addrs answers. A backend that
// connection tracking does not carry (dsr, stateless) cannot be watched.
type Watched struct {
	ID        core.BackendID
	Frontends []core.Frontend
	// Addrs are the backend's addresses; each goes with the frontends of its
	// family. Port 0 stands for the port that the client asked for.
	Addrs []netip.AddrPort
	// Live says that its counts must follow each connection. Where nobody needs
	// that, the whole table is read now and then instead: see Reader.AsOf.
	Live bool
	// Passive says that its unanswered and refused connections are to be counted, for
	// which it counts as Live.
	Passive bool
	// Local says that the backend is a port of this node: of Addrs only the ports
	// count, and the answers come from whichever address the kernel redirected to.
	Local bool
}

// A rule is one frontend with one address of a backend, as plain bytes. IPv4 is
// in its IPv4-mapped form.
type rule struct {
	vip         [16]byte
	bits        uint8 // of vip, out of 128
	protocol    uint8
	first, last uint16
	backend     [16]byte // zero: any
	port        uint16   // of the backend; 0: that which the client asked for
}

// rules are the pairs of w, without repetition.
func (w *Watched) rules() []rule {
	rules := make([]rule, 0, len(w.Frontends)*len(w.Addrs))
	for _, f := range w.Frontends {
		for _, a := range w.Addrs {
			if !w.Local && a.Addr().Unmap().Is4() != f.Addr().Unmap().Is4() {
				continue
			}
			if r := newRule(f, a, w.Local); !slices.Contains(rules, r) {
				rules = append(rules, r)
			}
		}
	}
	return rules
}

func newRule(f core.Frontend, a netip.AddrPort, local bool) rule {
	r := rule{
		vip: f.Addr().As16(), bits: uint8(128 - f.Addr().BitLen() + f.VIP.Bits()),
		protocol: f.Protocol.Number(), first: f.Ports.First, last: f.Ports.Last, port: a.Port(),
	}
	if !local {
		r.backend = a.Addr().As16()
	}
	if r.first == r.last && r.port == r.first {
		r.port = 0 // the same, so that such rules compare equal
	}
	return r
}

// single reports whether the VIP is one address.
func (r *rule) single() bool { return r.bits == 128 }

// exact reports whether all four of address, port, address and port are given.
func (r *rule) exact() bool { return r.single() && r.first == r.last && r.backend != [16]byte{} }

func (r *rule) v4() bool { return netip.AddrFrom16(r.vip).Is4In6() }

// backendPort is the port of an exact rule's backend.
func (r *rule) backendPort() uint16 {
	if r.port == 0 {
		return r.first
	}
	return r.port
}

// matches reports whether a connection is of the rule.
func (r *rule) matches(k *flowKey) bool {
	if k.protocol != r.protocol || k.vipPort < r.first || k.vipPort > r.last {
		return false
	}
	want := r.port
	if want == 0 {
		want = k.vipPort
	}
	if k.backendPort != want || r.backend != [16]byte{} && r.backend != k.backend {
		return false
	}
	whole := r.bits / 8
	if string(k.vip[:whole]) != string(r.vip[:whole]) {
		return false
	}
	if rest := r.bits % 8; rest != 0 {
		mask := byte(0xff) << (8 - rest)
		return k.vip[whole]&mask == r.vip[whole]&mask
	}
	return true
}
