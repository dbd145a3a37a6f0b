// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
)

// forwardSwitches are the kernel's, per family, as files under /proc/sys.
var forwardSwitches = []struct{ family, file, key string }{
	{"IPv4", "net/ipv4/ip_forward", "net.ipv4.ip_forward"},
	{"IPv6", "net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"},
}

// forwardWarnings says for which families the kernel does not forward although
// services have backends of them. root is /proc/sys; a file that cannot be read
// says nothing.
func forwardWarnings(root string, services []core.Service) []string {
	used := map[string]bool{}
	for _, s := range services {
		for _, b := range s.Backends {
			if b.Addr.Addr().Unmap().Is4() {
				used["IPv4"] = true
			} else {
				used["IPv6"] = true
			}
		}
	}
	var out []string
	for _, f := range forwardSwitches {
		value, err := os.ReadFile(filepath.Join(root, f.file))
		if used[f.family] && err == nil && strings.TrimSpace(string(value)) == "0" {
			out = append(out, fmt.Sprintf("this node does not forward %s: clients will time out, unless the backends are on this node: sysctl %s=1", f.family, f.key))
		}
	}
	return out
}

// tellWarnings tells the log and the bus what warnings finds.
func (d *daemon) tellWarnings(cfg *config.Config) {
	for _, text := range d.warnings(cfg) {
		d.log.Warn(text)
		d.tell(core.Event{Node: cfg.Node, Severity: core.Warn, Topic: "kernel", Message: text})
	}
}

// sysctlRoot shows the switches of the network namespace of whoever reads.
const sysctlRoot = "/proc/sys"
