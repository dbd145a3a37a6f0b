// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
)

func TestOffloadWarnings(t *testing.T) {
	offload := func(name string, edit func(*core.Service)) core.Service {
		s := core.Service{Name: name, Traffic: core.Traffic{Offload: true}}
		if edit != nil {
			edit(&s)
		}
		return s
	}
	present := []core.Feature{{Name: "hash"}, {Name: "flowtable", Present: true}}
	missing := []core.Feature{{Name: "flowtable", Remedy: "modprobe nft_flow_offload"}}
	marked := func(s *core.Service) { s.Backends = []core.Backend{{QoS: core.QoS{Mask: 1}}} }
	tests := []struct {
		name     string
		features []core.Feature
		services []core.Service
		want     []string
	}{
		{"nobody wants it", missing, []core.Service{{Name: "web", Traffic: core.Traffic{Bytes: true}}}, nil},
		{"all is well", present, []core.Service{offload("web", nil)}, nil},
		{"missing", missing, []core.Service{offload("a", marked), offload("b", nil), offload("c", nil), offload("d", nil)},
			[]string{"this kernel lacks flowtables, so that offload does nothing (service a, b, c and 1 more): modprobe nft_flow_offload"}},
		{"beside others", present, []core.Service{offload("a", marked), offload("b", func(s *core.Service) { s.Bytes = true })}, []string{
			"offload takes packets past qos, which marks only the first of a connection (service a)",
			"offload takes packets past count_bytes, which counts only the first of a connection (service b)",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, offloadWarnings(tt.features, tt.services)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestOffloadDevices(t *testing.T) {
	cfg := &config.Config{Services: []core.Service{{Name: "web"}}}
	if got := offloadDevices(cfg); got != nil {
		t.Errorf("no service has offload: %q", got)
	}
	cfg.Services[0].Offload = true
	if got := offloadDevices(cfg); slices.Contains(got, "lo") || !slices.IsSorted(got) {
		t.Errorf("found %q", got)
	}
	cfg.Kernel.OffloadDevices = []string{"eth0"}
	if got := offloadDevices(cfg); !cmp.Equal(got, []string{"eth0"}) {
		t.Errorf("%q, although the configuration says eth0", got)
	}
}
