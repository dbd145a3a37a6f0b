// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"reflect"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// samePlan reports whether there is nothing to do.
func samePlan(a, b *core.ServicePlan) bool {
	return slices.EqualFunc(a.Backends, b.Backends, sameBackend) && sameTraffic(a.Traffic, b.Traffic)
}

func sameTraffic(a, b *core.Traffic) bool { return a == b || reflect.DeepEqual(a, b) }

// sameBackend compares what QoS says, and not where that is stored.
func sameBackend(x, y core.BackendPlan) bool {
	if x == y {
		return true
	}
	if !sameValues(x.QoS.DSCP, y.QoS.DSCP) || !sameValues(x.QoS.Priority, y.QoS.Priority) {
		return false
	}
	x.QoS.DSCP, x.QoS.Priority = y.QoS.DSCP, y.QoS.Priority
	return x == y
}

func sameValues[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }
