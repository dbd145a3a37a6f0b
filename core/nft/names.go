// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// DefaultTable is the name of the table where Config names none.
const DefaultTable = "steelyard"

// layout is the table's comment. It changes when what the table holds can no
// longer be told apart by its names: a table with another comment is replaced as
// a whole, in one transaction.
const layout = "steelyard layout 2"

// The chains that all services share.
const (
	chainPrerouting   = "prerouting"
	chainOutput       = "output"
	chainAccount      = "account"
	chainAccountLocal = "accountlocal"
)

// What a service has of its own is named KIND-SERVICE, where no kind has a dash:
// that is how it finds its service again.
const (
	kindChain    = "svc"
	kindWeights  = "w"
	kindWeights6 = "w6"
	kindRing     = "ring" // the weights of round robin, with the number of places
	kindHash     = "hash" // of the hashes
	kindRefused  = "refused"
)

func nameOf(kind, service string) string { return kind + "-" + service }

func chainName(service string) string   { return nameOf(kindChain, service) }
func refusedName(service string) string { return nameOf(kindRefused, service) }

// weightsName is another for each kind and size of map, so that one can be made
// while the other is still looked up: "w-web", "ring420-web", "hash4093v6-web".
func (c *compiler) weightsName(v6 bool) string {
	if c.s.Distribution == core.Random {
		return nameOf(byFamily(v6, kindWeights, kindWeights6), c.s.Name)
	}
	kind := kindHash
	if c.s.Distribution == core.RoundRobin {
		kind = kindRing
	}
	return nameOf(fmt.Sprintf("%s%d%s", kind, c.places(v6), byFamily(v6, "", "v6")), c.s.Name)
}

// serviceOf is the service that something of that name belongs to; empty for
// what is shared.
func serviceOf(name string) string {
	_, service, _ := strings.Cut(name, "-")
	return service
}

// isWeights reports whether a set of that name is a weights map.
func isWeights(name string) bool {
	kind, _, own := strings.Cut(name, "-")
	if !own {
		return isGroup(name)
	}
	return kind == kindWeights || kind == kindWeights6 || isSpare(name) ||
		strings.HasPrefix(kind, kindRing) || strings.HasPrefix(kind, kindHash)
}
