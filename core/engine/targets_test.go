// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// A monitor names backends by what it knows of them.
func TestTargetsOfMonitors(t *testing.T) {
	one, two := web("web", "queue", 1, 1), web("api", "queue", 1, 1)
	two.Backends[0].Name, two.Backends[1].Name = "b1", "10.0.0.9"
	two.Backends[1].Addr = netip.MustParseAddrPort("10.0.0.9:80")
	two.Backends[1].Alt = netip.MustParseAddrPort("[2001:db8::9]:80")
	setup := setupOf(one, two)
	setup.Metrics = map[string][]string{"queue": {"depth"}}
	engineTest(t, &kernel{}, policies{"queue": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		for _, tt := range []struct {
			target string
			want   []string
		}{
			{"b1", []string{"api/b1", "web/b1"}},
			{"web/b2", []string{"web/b2"}},
			{"10.0.0.1", []string{"api/b1", "web/b1"}}, // the same machine in two services
			{"10.0.0.9", []string{"api/10.0.0.9"}},     // its name and its address: once
			{"::ffff:10.0.0.2", []string{"web/b2"}},
			{"2001:db8:0::9", []string{"api/10.0.0.9"}},
			{"nobody", nil},
		} {
			var before uint64
			_ = e.do(t.Context(), func() { before = e.unknown })
			e.Offer(core.Sample{
				Backend: core.BackendID{Backend: tt.target}, Probe: "depth", Role: core.MetricRole, OK: true, Node: "zabbix", Seq: 9,
				TakenAt: time.Now(), Metrics: []core.Metric{{Name: "depth", Value: 7}},
			})
			synctest.Wait()
			var got []string
			var unknown uint64
			_ = e.do(t.Context(), func() {
				unknown = e.unknown - before
				for _, s := range e.order {
					for _, b := range s.backends {
						if m := b.custom.find("depth"); m.value == 7 {
							got = append(got, b.id.String())
							if *m.source != (source{"zabbix", "depth"}) || m.seq != 9 {
								t.Errorf("%s: of %+v %d", b.id, m.source, m.seq)
							}
						}
						b.custom.last[0] = custom{}
					}
				}
			})
			if diff := cmp.Diff(tt.want, got); diff != "" || (unknown == 1) != (tt.want == nil) {
				t.Errorf("%s (-want +got), %d unknown:\n%s", tt.target, unknown, diff)
			}
		}
		if !l.has(`no backend configured here has the name or the address "nobody"`) {
			t.Error("nothing was told of nobody")
		}
	})
}

// A target decides no health, and the index goes with the configuration.
func TestTargetsAndHealth(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		e.say("web", "b2", true)
		for range 5 {
			e.Offer(core.Sample{
				Backend: core.BackendID{Backend: "b1"}, Probe: "alive", Type: core.ProbeTCP, Role: core.HealthRole, Node: "test",
				Code: core.L4Refused, TakenAt: time.Now(),
			})
		}
		e.Offer(core.Sample{Backend: core.BackendID{Backend: "b1"}, Probe: "x", Role: core.MetricRole, OK: true, Node: "zabbix", TakenAt: time.Now()})
		time.Sleep(3 * time.Second)
		want(t, k, "web", 32768, 32768)
		_ = e.do(t.Context(), func() {
			if e.targets == nil {
				t.Error("there is no index")
			}
		})
		reloadTo(t, e, setupOf(web("web", "weighted", 1, 1)))
		_ = e.do(t.Context(), func() {
			if e.targets != nil {
				t.Error("the index is of the configuration before")
			}
		})
	})
}
