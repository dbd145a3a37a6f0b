// SPDX-License-Identifier: Apache-2.0

package neigh

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// valid are the states in which the kernel itself would use the MAC.
	valid = unix.NUD_PERMANENT | unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE

	// calm are those of them in which nobody waits for an answer.
	calm = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY

	// grace is how long a Hop outlives the removal of its entry: as long as the
	// kernel tries to resolve one before it fails.
	grace = 3 * time.Second
	// retry is how long one that is not resolved waits before it is asked again.
	retry = time.Second
)

// An entry is a watched address.
type entry struct {
	addr  netip.Addr
	route answer
	dirty bool // the route has to be asked for; it may be another one now
	// near are the kernel's entries for the address, one per device.
	near    []sighting
	asked   time.Time  // when the kernel was last made to ask; zero is never
	refused unix.Errno // what it said to that
	until   time.Time  // end of the grace; zero when the kernel has an entry

	hop     core.Hop // zero if there is none
	problem string   // why there is none
}

// A sighting is a neighbour and the time it was last confirmed.
type sighting struct {
	neighbour
	confirmed time.Time
}

// see takes over what the kernel says of the address on one device.
func (e *entry) see(n neighbour, gone bool, now time.Time) {
	i := slices.IndexFunc(e.near, func(s sighting) bool { return s.device == n.device })
	if i < 0 {
		if !gone {
			e.near = append(e.near, sighting{n, now.Add(-n.age)})
		}
		return
	}
	before := e.near[i].state
	// Who does not answer fails while it is probed. One that fails out of the blue
	// is being removed: the removal is announced right after.
	gone = gone || n.state&unix.NUD_FAILED != 0 && before&calm != 0
	if before&valid != 0 && (gone || n.state&valid == 0) {
		e.asked = time.Time{} // ask at once: it may be elsewhere now
	}
	if gone {
		e.near = slices.Delete(e.near, i, i+1)
		return
	}
	e.near[i] = sighting{n, now.Add(-n.age)}
}

// at is the kernel's entry on the device that the route leads to.
func (e *entry) at() (s sighting, ok bool) {
	for _, s := range e.near {
		if s.device == e.route.route.device {
			return s, true
		}
	}
	return sighting{}, false
}

// settle works out the Hop anew and reports whether it is another one.
func (e *entry) settle(links map[int]link, now time.Time) (changed bool) {
	before := e.hop
	e.hop, e.problem = e.find(links, now)
	return e.hop != before
}

func (e *entry) find(links map[int]link, now time.Time) (core.Hop, string) {
	if why := e.obstacle(links); why != "" {
		e.until = time.Time{}
		return core.Hop{}, why
	}
	l := links[e.route.route.device]
	s, ok := e.at()
	if ok && s.state&valid != 0 {
		e.until = time.Time{}
		return core.Hop{MAC: s.mac, Own: l.mac, Device: l.name}, ""
	}
	failed := ok && s.state&unix.NUD_FAILED != 0
	if !failed && e.hop.Device == l.name {
		if e.until.IsZero() {
			e.until = now.Add(grace)
		}
		if now.Before(e.until) {
			return core.Hop{MAC: e.hop.MAC, Own: l.mac, Device: l.name}, ""
		}
	}
	e.until = time.Time{}
	return core.Hop{}, e.silence(l.name, failed)
}

// obstacle says why there can be no Hop whatever the neighbour says.
func (e *entry) obstacle(links map[int]link) string {
	r := e.route.route
	switch {
	case e.addr.Zone() != "":
		return fmt.Sprintf("%s has a zone: dsr needs an address without one", e.addr)
	case e.route.errno != 0:
		return fmt.Sprintf("there is no route to %s: %v", e.addr, e.route.errno)
	case r.device == 0 && e.dirty:
		return fmt.Sprintf("the route to %s was not looked up yet", e.addr)
	case r.typ == unix.RTN_LOCAL:
		return fmt.Sprintf("%s is an address of this machine: dsr needs another one on the link", e.addr)
	case r.typ != unix.RTN_UNICAST:
		return fmt.Sprintf("the route to %s does not lead to one machine: dsr needs it on the link", e.addr)
	case r.gateway.IsValid():
		return fmt.Sprintf("%s is behind the router %s: dsr needs it on the link", e.addr, r.gateway)
	}
	l, ok := links[r.device]
	switch {
	case !ok:
		return fmt.Sprintf("the interface towards %s is gone", e.addr)
	case !l.up:
		return fmt.Sprintf("%s, the interface towards %s, is down", l.name, e.addr)
	case !l.ethernet:
		return fmt.Sprintf("%s, the interface towards %s, has no Ethernet addresses: dsr needs them", l.name, e.addr)
	}
	return ""
}

func (e *entry) silence(device string, failed bool) string {
	protocol, family := "ARP", "ipv4"
	if e.addr.Is6() {
		protocol, family = "neighbour solicitations", "ipv6"
	}
	switch {
	case e.refused == unix.ENOBUFS:
		return fmt.Sprintf("the kernel's neighbour table is full: raise the sysctl net.%s.neigh.default.gc_thresh3", family)
	case e.refused == unix.EPERM:
		return fmt.Sprintf("the kernel may not be asked for %s: the process needs CAP_NET_ADMIN", e.addr)
	case e.refused != 0:
		return fmt.Sprintf("the kernel does not ask for %s on %s: %v", e.addr, device, e.refused)
	case failed:
		return fmt.Sprintf("%s does not answer %s on %s", e.addr, protocol, device)
	}
	return fmt.Sprintf("%s is being looked for by %s on %s", e.addr, protocol, device)
}

// next says when the kernel has to be made to ask, and for what. A zero time
// means never: events will tell.
func (e *entry) next(links map[int]link, verify time.Duration) (time.Time, ask) {
	a := ask{addr: e.addr, device: e.route.route.device}
	if e.dirty || e.obstacle(links) != "" {
		return time.Time{}, a
	}
	s, ok := e.at()
	a.fresh = !ok
	switch {
	case ok && s.foreign:
		return time.Time{}, a
	case ok && s.state&valid != 0:
		a.verify = true
		if s.confirmed.After(e.asked) {
			return s.confirmed.Add(verify), a
		}
		return e.asked.Add(verify), a
	case e.asked.IsZero():
		return time.Unix(0, 0), a
	}
	return e.asked.Add(retry), a
}

// answered takes over what the kernel said to an ask.
func (e *entry) answered(a ask, errno unix.Errno) {
	n := neighbour{addr: a.addr, device: a.device}
	switch errno {
	case unix.EEXIST: // it came while we asked
		if _, ok := e.at(); !ok {
			e.see(n, false, time.Time{}) // the next ask is not for a fresh one
		}
		e.refused = 0
	case unix.ENOENT: // it went while we asked
		e.see(n, true, time.Time{})
		e.refused = 0
	case unix.EINVAL: // it failed while we asked: the event is under way
		e.refused = 0
	default:
		e.refused = errno
	}
}
