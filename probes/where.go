// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"net/netip"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// Where says for people what a target's probe asks: an address, or of a command
// its program.
func Where(t Target) string {
	switch t.Spec.Type {
	case core.ProbeExec:
		return strings.Join(t.Spec.Exec.Command[:min(1, len(t.Spec.Exec.Command))], "")
	case core.ProbePing:
		return t.Addr.Addr().String()
	case core.ProbeSNMPCPU, core.ProbeSNMP:
		return netip.AddrPortFrom(t.Addr.Addr(), cmp.Or(t.Spec.Port, defaultSNMPPort)).String() + "/udp"
	}
	return t.addr().String()
}

// NeedsPort reports whether a target's probe asks a port and is told it by neither the
// backend nor the probe.
func NeedsPort(t Target) bool {
	switch t.Spec.Type {
	case core.ProbePing, core.ProbeSNMPCPU, core.ProbeSNMP:
		return false
	case core.ProbeExec:
		if !strings.Contains(strings.Join(t.Spec.Exec.Command, " "), "{port}") {
			return false
		}
	}
	return t.addr().Port() == 0
}
