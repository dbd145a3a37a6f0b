// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab"
)

// A listen is a service of a daemon that is measured with traffic.
type listen struct {
	port       int
	forwarding core.Forwarding
}

// A daemon is `steelyard run` in the balancer of a lab.
type daemon struct {
	binary string
	node   *lab.Node
	config string
	yaml   string // of the policy "weighted"
	policy string // in force
	client *admin.Client
	proc   *lab.Process
}

// settle is how long a daemon with another policy is left alone: it follows
// connections, or not, within a second.
const settle = 2 * time.Second

// newDaemon writes the configuration: services on the lab's VIP, each over all
// of its backends.
func (b *bench) newDaemon(l *lab.Lab, services []listen) (*daemon, error) {
	dir := filepath.Join(b.dir, l.Name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "control.sock")
	d := &daemon{binary: b.steelyard, node: l.Balancer, config: filepath.Join(dir, "steelyard.yaml"), client: admin.NewClient(socket)}
	var y strings.Builder
	fmt.Fprintf(&y, "node: peers\nstate_dir: %s/state\ncontrol: {socket: %s}\nlog: {level: warn, format: text}\n", dir, socket)
	y.WriteString("probes:\n  alive: {type: tcp, interval: 5s, timeout: 1s}\nservices:\n")
	for i, s := range services {
		fmt.Fprintf(&y, "  %s:\n    vip: %s\n    port: %d\n    forwarding: %s\n    policy: weighted\n    probes: [alive]\n    backends:\n",
			farmName(i), l.VIP4, s.port, s.forwarding)
		for _, n := range l.Backends {
			fmt.Fprintf(&y, "      %s: {address: %s, port: %d}\n", n.Name, n.Addr4, serverPort)
		}
	}
	d.yaml, d.policy = y.String(), "weighted"
	return d, os.WriteFile(d.config, []byte(d.yaml), 0o600)
}

// use reloads the daemon with another policy, unless it has it.
func (d *daemon) use(ctx context.Context, policy string) error {
	if d.policy == policy {
		return nil
	}
	yaml := strings.ReplaceAll(d.yaml, "policy: weighted", "policy: "+policy)
	if err := os.WriteFile(d.config, []byte(yaml), 0o600); err != nil {
		return err
	}
	if _, err := d.client.Reload(ctx); err != nil {
		return err
	}
	d.policy = policy
	select {
	case <-time.After(settle):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start runs the daemon and waits until it answers: it does so once the kernel
// carries the services.
func (d *daemon) start(ctx context.Context) (err error) {
	cmd := exec.Command(d.binary, "run", "-c", d.config)
	cmd.Stderr = os.Stderr
	if d.proc, err = d.node.Start(cmd); err != nil {
		return err
	}
	return await(ctx, "steelyard", d.proc, func() error {
		_, err := d.client.Node(ctx)
		return err
	})
}

// serves waits until every backend has been probed. At a first start that comes
// after the daemon answers: a backend that nobody has seen alive is given nothing.
func (d *daemon) serves(ctx context.Context) error {
	return await(ctx, "steelyard", d.proc, func() error {
		v, err := d.client.Node(ctx)
		for _, s := range v.Services {
			for _, b := range s.Backends {
				if b.Slots == 0 {
					return fmt.Errorf("%s/%s is %s and gets nothing: %s", s.Name, b.Name, b.Health, b.Why)
				}
			}
		}
		return err
	})
}

func liveFarms(l *lab.Lab, n int) []farm {
	farms := make([]farm, n)
	for i := range farms {
		farms[i] = farm{
			Name: farmName(i), Family: "ipv4", VIP: l.VIP4.String(), Ports: text(firstPort + i),
			Mode: "dnat", Protocol: "tcp", Scheduler: "weight", State: "up",
		}
		for _, b := range l.Backends {
			farms[i].Backends = append(farms[i].Backends, farmBackend{
				Name: b.Name, Addr: b.Addr4.String(), Port: text(serverPort), Weight: "10", State: "up",
			})
		}
	}
	return farms
}

func address(a netip.Addr, port int) string { return netip.AddrPortFrom(a, uint16(port)).String() }
