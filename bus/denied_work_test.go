// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"slices"
	"testing"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
)

// TestStatsSayWhatIsDenied: a real server that does not let a node say that it is there, nor
// hear the samples of others.
func TestStatsSayWhatIsDenied(t *testing.T) {
	port := freePort(t)
	bustest.Serve(t, port, `authorization { users: [ {user: lb1, password: secret, permissions: {
		publish: {allow: ">", deny: "steelyard.v1.node.>"}, subscribe: {allow: ">", deny: "steelyard.v1.probe.>"}}} ] }`)
	b := outside(t, "lb1", port, bus.Login{User: "lb1", Password: "secret"})
	eventually(t, "it is connected", func() bool { return b.Stats().Connected })
	if got := b.Stats().Denied; len(got) != 0 {
		t.Errorf("denied before anything was tried: %q", got)
	}
	collect(t, b)
	want := []string{"publish steelyard.v1.node.edge.lb1", "subscribe steelyard.v1.probe.*.*.*.*"}
	if err := doPresence(b, "lb1"); err != nil {
		t.Fatal(err)
	}
	var got []string
	defer func() { t.Logf("denied: %q", got) }()
	eventually(t, "the denials are known", func() bool { got = b.Stats().Denied; return slices.Equal(got, want) })
}
