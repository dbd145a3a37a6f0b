// SPDX-License-Identifier: Apache-2.0

package plugintest_test

import (
	"os"
	"testing"

	"github.com/steelyard-lb/steelyard/plugins"
	"github.com/steelyard-lb/steelyard/plugins/builtin"
	"github.com/steelyard-lb/steelyard/plugins/plugintest"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
)

func TestMain(m *testing.M) { plugintest.Main(m) }

func TestShippedPoliciesConform(t *testing.T) {
	for _, p := range plugins.ShippedPolicies() {
		t.Run(p.Name, func(t *testing.T) {
			plugintest.Tell(t, conform(t, suite.Subject{Name: p.Name, Code: builtin.Wasm, Command: plugintest.Worker(t)}))
		})
	}
	t.Run("a C policy", func(t *testing.T) {
		code, err := os.ReadFile("../testdata/count.wasm")
		if err != nil {
			t.Fatal(err)
		}
		plugintest.Tell(t, conform(t, suite.Subject{Code: code, Command: plugintest.Worker(t)}))
	})
}

func conform(t *testing.T, s suite.Subject) []suite.Result {
	t.Helper()
	results, err := suite.Conform(t.Context(), s, suite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return results
}
