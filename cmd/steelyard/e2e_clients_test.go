// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core/lab"
)

// TestClientsOfEveryKind asks a dual-stack service with a range of ports, over both
// protocols, as those who need a word in the configuration to be served: the
// balancer itself (kernel.local_clients), and a backend (hairpin), which may get
// itself. Without that word they get nowhere.
func TestClientsOfEveryKind(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	b1, b2 := r.lab.Backends[0], r.lab.Backends[1]
	// The lab's network of backends is a bridge of the balancer: see Hairpin in docs/dataplane.md.
	for _, key := range []string{"net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"} {
		if err := r.lab.Balancer.Sysctl(key, "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	config := func(word bool) {
		r.write(fmt.Sprintf(`kernel: {local_clients: %[1]t}
services:
  web: {vip: [%[2]s, '%[3]s'], port: [80, 8000-8999], protocol: [tcp, udp], hairpin: %[1]t, policy: weighted, every: 200ms, probes: [alive],
    backends: {b1: {address: [%[4]s, '%[5]s'], port: 80}, b2: {address: [%[6]s, '%[7]s'], port: 80}}}
`, word, r.lab.VIP4, r.lab.VIP6, b1.Addr4, b1.Addr6, b2.Addr4, b2.Addr6))
	}
	config(true)
	r.start()
	r.untilShares("web", 50, 50)
	for _, from := range []*lab.Node{r.lab.Client, r.lab.Balancer, b1, b2} {
		for _, network := range []string{"tcp", "udp"} {
			for _, addr := range []string{r.vip4(80), r.vip4(8500), r.vip6(80), r.vip6(8999)} {
				by := map[string]int{}
				for range 30 {
					name, err := r.askAt(from, network, addr)
					if err != nil {
						t.Fatalf("%s asks %s over %s: %v", from.Name, addr, network, err)
					}
					by[name]++
				}
				if by["b1"] == 0 || by["b2"] == 0 {
					t.Errorf("%s asks %s over %s: answers %v", from.Name, addr, network, by)
				}
			}
		}
	}

	config(false)
	if out, code := r.steelyard("reload"); code != 0 {
		t.Fatalf("reload: exit code %d:\n%s", code, out)
	}
	r.patience = 3 * time.Second // they wait in vain
	if name, err := r.askAt(r.lab.Balancer, "tcp", r.vip4(80)); err == nil {
		t.Errorf("the balancer itself is served by %s without local_clients", name)
	}
	// The other backend's answer goes past the balancer, and the backend's own
	// packet comes back to it with its own address as the source.
	if name, err := r.askAt(b1, "tcp", r.vip4(80)); err == nil {
		t.Errorf("a backend is served by %s without hairpin", name)
	}
	r.patience = 0
	if _, err := r.ask("tcp", r.vip4(80)); err != nil {
		t.Errorf("the client after the reload: %v", err)
	}
}
