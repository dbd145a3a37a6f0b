// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

func TestForwardWarnings(t *testing.T) {
	service := func(addr string) core.Service {
		return core.Service{Backends: []core.Backend{{Addr: netip.MustParseAddrPort(addr)}}}
	}
	v4, v6 := service("192.0.2.1:80"), service("[2001:db8::1]:80")
	for _, tt := range []struct {
		name     string
		ip4, ip6 string // empty: the file is missing
		services []core.Service
		want     []string // the sysctl in each warning
	}{
		{"all on", "1\n", "1\n", []core.Service{v4, v6}, nil},
		{"all off", "0\n", "0\n", []core.Service{v4, v6}, []string{"net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"}},
		{"off but not used", "0\n", "1\n", []core.Service{v6}, nil},
		{"v6 off", "1\n", "0\n", []core.Service{v4, v6}, []string{"net.ipv6.conf.all.forwarding=1"}},
		{"no IPv6 in the kernel", "0\n", "", []core.Service{v4, v6}, []string{"net.ipv4.ip_forward=1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for file, value := range map[string]string{"net/ipv4/ip_forward": tt.ip4, "net/ipv6/conf/all/forwarding": tt.ip6} {
				if value == "" {
					continue
				}
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, w := range forwardWarnings(root, tt.services) {
				got = append(got, w[strings.LastIndex(w, " ")+1:])
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
