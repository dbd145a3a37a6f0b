// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/core/ops"
)

func TestMetricTargets(t *testing.T) {
	backend := func(name, addr string) core.Backend {
		return core.Backend{Name: name, Addr: netip.MustParseAddrPort(addr)}
	}
	two := backend("b2", "192.0.2.2:80")
	two.Alt = netip.MustParseAddrPort("[2001:db8::2]:80")
	cfg := &config.Config{Services: []core.Service{
		{Name: "web", Backends: []core.Backend{backend("b1", "192.0.2.1:80"), two}},
		{Name: "mail", Backends: []core.Backend{backend("b1", "[::ffff:192.0.2.1]:25"), backend("192.0.2.77", "192.0.2.7:25")}},
		{Name: "big"},
	}}
	for i := range 100 {
		cfg.Services[2].Backends = append(cfg.Services[2].Backends, backend(fmt.Sprintf("node%02d", i), "198.51.100.1:80"))
	}
	var targets metricTargets
	look := func(service, backend string) string {
		err := targets.look(cfg, core.BackendID{Service: service, Backend: backend})
		if err == nil {
			return ""
		}
		if !errors.As(err, new(*ops.UnmatchedError)) {
			t.Errorf("%s/%s: %T, want an UnmatchedError", service, backend, err)
		}
		return err.Error()
	}
	for _, tt := range []struct{ service, backend, want string }{
		{"web", "b1", ""},
		{"", "web/b2", ""},
		{"", "b2", ""},
		{"", "192.0.2.1", ""},
		{"", "::ffff:192.0.2.2", ""},
		{"", "2001:DB8:0::2", ""},
		{"", "192.0.2.77", ""},
		{"", "mail/192.0.2.77", ""},
		{"web", "b9", "no backend web/b9; service web has b1, b2"},
		{"", "web/b9", "no backend web/b9; service web has b1, b2"},
		{"", "www/b1", "no backend www/b1: there is no service www; services here: big, mail, web"},
		{"", "big/node501", "no backend big/node501; service big has node47, node48, node49, node50, node51, node52, node53, node54 and 92 more"},
		{"", "zzz", "no backend has the name or the address zzz; backends here: node92, node93, node94, node95, node96, node97, node98, node99 and 95 more"},
		{"", "192.0.2.9", "no backend has the name or the address 192.0.2.9; backends here: 192.0.2.77, b1, b2, node00, node01, node02, node03, node04 and 95 more"},
	} {
		if got := look(tt.service, tt.backend); got != tt.want {
			t.Errorf("%s/%s: %q, want %q", tt.service, tt.backend, got, tt.want)
		}
	}
	cfg = &config.Config{}
	if got := look("", "b1"); got != "no backend has the name or the address b1; backends here: none" {
		t.Errorf("after a reload without services: %q", got)
	}
	if got := look("web", "b1"); got != "no backend web/b1: there is no service web; services here: none" {
		t.Errorf("without services: %q", got)
	}
}
