// SPDX-License-Identifier: Apache-2.0

package nft

import "strings"

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
	kindRefused  = "refused"
)

func nameOf(kind, service string) string { return kind + "-" + service }

func chainName(service string) string   { return nameOf(kindChain, service) }
func refusedName(service string) string { return nameOf(kindRefused, service) }

func weightsName(service string, v6 bool) string {
	if v6 {
		return nameOf(kindWeights6, service)
	}
	return nameOf(kindWeights, service)
}

// serviceOf is the service that something of that name belongs to; empty for
// what is shared.
func serviceOf(name string) string {
	_, service, _ := strings.Cut(name, "-")
	return service
}

// isWeights reports whether a set of that name is a weights map.
func isWeights(name string) bool {
	kind, _, ok := strings.Cut(name, "-")
	return ok && (kind == kindWeights || kind == kindWeights6) || isGroup(name) || isSpare(name)
}
