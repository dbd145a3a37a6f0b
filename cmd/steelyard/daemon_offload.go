// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
)

// offloadDevices are the interfaces for the flowtable: those of the configuration,
// else all that clients' or backends' packets can arrive on. Nil while no service
// has offload.
func offloadDevices(cfg *config.Config) []string {
	switch {
	case !slices.ContainsFunc(cfg.Services, func(s core.Service) bool { return s.Offload }):
		return nil
	case len(cfg.Kernel.OffloadDevices) > 0:
		return cfg.Kernel.OffloadDevices
	}
	return routedDevices()
}

// routedDevices are the interfaces of this network namespace that are up and have
// an address of more than the link: what a bridge or a bond is made of has none.
func routedDevices() (names []string) {
	list, err := net.Interfaces()
	if err != nil {
		return nil // nobody can list interfaces: then there is no offload, and show has no numbers of it
	}
	for _, i := range list {
		addrs, err := i.Addrs()
		if err == nil && i.Flags&net.FlagUp != 0 && i.Flags&net.FlagLoopback == 0 && slices.ContainsFunc(addrs, isRouted) {
			names = append(names, i.Name)
		}
	}
	slices.Sort(names)
	return names
}

func isRouted(a net.Addr) bool {
	p, err := netip.ParsePrefix(a.String())
	return err == nil && !p.Addr().IsLinkLocalUnicast()
}

// offloadWarnings says which services go without the offload that they ask for,
// and what they lose with it.
func offloadWarnings(features []core.Feature, services []core.Service) (out []string) {
	var want, marked, counted []string
	for _, s := range services {
		if !s.Offload {
			continue
		}
		want = append(want, s.Name)
		if s.QoS.Active() || slices.ContainsFunc(s.Backends, func(b core.Backend) bool { return b.QoS.Active() }) {
			marked = append(marked, s.Name)
		}
		if s.Bytes {
			counted = append(counted, s.Name)
		}
	}
	if len(want) == 0 {
		return nil
	}
	for _, f := range features {
		if f.Name == "flowtable" && !f.Present {
			return []string{fmt.Sprintf("this kernel lacks flowtables, so that offload does nothing (%s): %s", someOf(want), f.Remedy)}
		}
	}
	if len(marked) > 0 {
		out = append(out, fmt.Sprintf("offload takes packets past qos, which marks only the first of a connection (%s)", someOf(marked)))
	}
	if len(counted) > 0 {
		out = append(out, fmt.Sprintf("offload takes packets past count_bytes, which counts only the first of a connection (%s)", someOf(counted)))
	}
	return out
}

// featureReject is what core/nft calls the resets of dsr and stateless.
const featureReject = "reject in netdev"

// silentWarnings says which services go without the resets that they ask for.
func silentWarnings(features []core.Feature, services []core.Service) []string {
	i := slices.IndexFunc(features, func(f core.Feature) bool { return f.Name == featureReject && !f.Present })
	if i < 0 {
		return nil
	}
	var want []string
	for _, s := range services {
		if !s.Forwarding.Tracked() && s.OnEmpty == core.Reject {
			want = append(want, s.Name)
		}
	}
	if len(want) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("this kernel lacks %s, so that on_empty reject drops without an answer (%s): %s", features[i].Name, someOf(want), features[i].Remedy)}
}

// someOf names a few services.
func someOf(names []string) string {
	const few = 3
	text := "service " + strings.Join(names[:min(few, len(names))], ", ")
	if more := len(names) - few; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// warnings are what an operator should mend although all of it works.
func (d *daemon) warnings(cfg *config.Config) []string {
	var out []string
	if cfg.Cluster.Roles.Apply { // the kernel of another node matters to nobody
		out = append(forwardWarnings(sysctlRoot, cfg.Services), offloadWarnings(d.applier.Features(), cfg.Services)...)
		out = append(out, silentWarnings(d.applier.Features(), cfg.Services)...)
	}
	for _, w := range cfg.Warnings {
		out = append(out, w.Message)
	}
	return out
}
