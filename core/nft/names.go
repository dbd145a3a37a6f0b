// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"net/netip"

	"github.com/steelyard-lb/steelyard/core"
)

// DefaultTable is the name of the table where Config names none.
const DefaultTable = "steelyard"

// layout is the table's comment. It changes when the shape of the table does:
// a table with another comment is replaced as a whole, in one transaction.
const layout = "steelyard layout 1"

// The chains, and the hooks that the first three stand in.
const (
	chainPrerouting = "prerouting"
	chainOutput     = "output"
	chainAccount    = "account"
)

// Sizes of the shared sets, in elements. A size makes the kernel take a hash
// with a fixed number of buckets, whose dump is exact while elements come and
// go; the growing one may skip some then. The price is about 22 MiB of kernel
// memory, and that a full set refuses more.
const (
	servicesSize = 32768
	connsSize    = 262144
)

// sharedSet is a set that all services have elements in.
type sharedSet uint8

const (
	services4 sharedSet = iota
	services6
	conns4
	conns6
	masq4
	masq6
	sharedSets // how many there are
)

var sharedNames = [sharedSets]string{"services4", "services6", "conns4", "conns6", "masq4", "masq6"}

func (s sharedSet) String() string { return sharedNames[s] }

func (s sharedSet) v6() bool { return s == services6 || s == conns6 || s == masq6 }

func (s sharedSet) isServices() bool { return s == services4 || s == services6 }

func (s sharedSet) forwarding() core.Forwarding {
	if s == masq4 || s == masq6 {
		return core.Masquerade
	}
	return core.DNAT
}

// servicesSet is the map that leads to a service of that VIP.
func servicesSet(vip netip.Addr) sharedSet {
	if vip.Is4() {
		return services4
	}
	return services6
}

// connsSet is the set that counts the connections of a service's backends.
func connsSet(s *core.ServicePlan) sharedSet {
	set := conns4
	if s.Forwarding == core.Masquerade {
		set = masq4
	}
	if s.VIP.Is6() {
		set++
	}
	return set
}

const (
	chainPrefix   = "svc-"
	weightsPrefix = "w-"
	refusedPrefix = "refused-"
)

func chainName(service string) string   { return chainPrefix + service }
func weightsName(service string) string { return weightsPrefix + service }
func refusedName(service string) string { return refusedPrefix + service }

// serviceComment holds what no key of services4 and services6 can, for Adopt
// to read back: "web masquerade reject".
func serviceComment(s *core.ServicePlan) string {
	return s.Name + " " + string(s.Forwarding) + " " + string(s.OnEmpty)
}
