// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"slices"
	"testing"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
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

// TestMetricsDenied: whoever hands a metric on can know, before it says so, that a real server
// refused it; and that the next one went through.
func TestMetricsDenied(t *testing.T) {
	port := freePort(t)
	bustest.Serve(t, port, `authorization { users: [ {user: lb1, password: secret, permissions: {
		publish: {allow: ">", deny: "steelyard.v1.metric.zabbix.>"}, subscribe: {allow: ">"}}} ] }`)
	b := outside(t, "lb1", port, bus.Login{User: "lb1", Password: "secret"})
	eventually(t, "it is connected", func() bool { return b.Stats().Connected })
	push := func(source string) string {
		t.Helper()
		err := b.PublishMetric(source, core.Sample{Backend: core.BackendID{Backend: "web/web1"}, Probe: "cpu", Role: core.MetricRole, OK: true, Metrics: []core.Metric{{Name: "cpu", Value: 0.5}}})
		if err != nil {
			t.Fatal(err)
		}
		return b.MetricsDenied(t.Context())
	}
	if got := push("nagios"); got != "" {
		t.Errorf("nobody refused it: %q", got)
	}
	const want = "publish steelyard.v1.metric.zabbix.web=2Fweb1.cpu"
	if got := push("zabbix"); got != want {
		t.Errorf("the server refused it: %q, want %q", got, want)
	}
	eventually(t, "it is among the denials", func() bool { return slices.Contains(b.Stats().Denied, want) })
	if got := bustest.Start(t).MetricsDenied(t.Context()); got != "" {
		t.Errorf("the server inside refused %q", got)
	}
}
