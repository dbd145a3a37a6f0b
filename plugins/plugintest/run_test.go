// SPDX-License-Identifier: Apache-2.0

package plugintest_test

import (
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins"
	"github.com/steelyard-lb/steelyard/plugins/plugintest"
)

func TestMain(m *testing.M) { plugintest.Main(m) }

func TestShippedPoliciesConform(t *testing.T) {
	h := plugintest.NewHost(t, core.PolicySpec{Name: "count", Path: "../testdata/count.wasm"})
	for _, p := range plugins.ShippedPolicies() {
		t.Run(p.Name, func(t *testing.T) { plugintest.Run(t, h, p.Name) })
	}
	t.Run("a C policy", func(t *testing.T) { plugintest.Run(t, h, "count") })
}
