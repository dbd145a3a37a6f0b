// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// faultsEnv is set by `make cluster-lab`: to 1, or to a part of the names of the faults
// that are wanted.
const faultsEnv = "STEELYARD_CLUSTER_LAB"

// faultsLong says that `make cluster-lab` runs these tests, and not `go test`.
var faultsLong = os.Getenv(faultsEnv) != ""

// chooseFaults is choose for these tests.
func chooseFaults[T any](short, long T) T {
	if faultsLong {
		return long
	}
	return short
}

const (
	faultBackends = 8
	faultServices = 5
	faultGroup    = "edge"
	probePort     = 81
)

// A faultStand is a group of five nodes that meet over three nats-servers, all on one
// network with the backends, and a client behind each balancer:
//
//	client ── (router) ──┬── n1, n2, n3       nats-servers, clustered by routes
//	                     ├── lb1, lb2, lb3    balancers of the same VIP, all roles
//	                     ├── p1, s1           one that only probes, one that only schedules
//	                     ├── c1, c2, c3       clients; c2 reaches the VIP through lb2
//	                     └── web1 … web8      backends
//
// Probes ask a port of their own, so that a backend can be dead to them and still
// serve: a connection that is refused was then refused by a balancer.
type faultStand struct {
	*rig      // of the lab; it has no daemon
	servers   []*natsServer
	nodes     []*faultNode
	backends  []*faultBackend
	balancers []*faultNode // those of nodes that carry traffic
	scheduler *faultNode
	prober    *faultNode
	watch     *faultWatch
	traffic   *faultTraffic
	rows      []faultRow
	struck    int // faults so far
	joined    int // nodes with a wrong clock so far, by their numbers
}

// A faultNode is a daemon in a namespace of its own.
type faultNode struct {
	*rig
	name   string
	node   *lab.Node
	client *lab.Node // whose way to the VIP leads here; nil of a node without traffic
}

// A faultBackend is a server: the world answers clients, and health the probes.
type faultBackend struct {
	name   string
	node   *lab.Node
	world  *world
	health *world
}

// newFaultStand builds the network and starts what is in it.
func newFaultStand(t *testing.T) *faultStand {
	t.Helper()
	labtest.NeedPrograms(t, "nats-server", "nft", "ip", "mount")
	needPlainWorker(t)
	dir := t.TempDir()
	l := labtest.New(t, lab.Config{Backends: 11 + faultBackends, Grace: 500 * time.Millisecond})
	s := &faultStand{rig: &rig{t: t, dir: dir, log: &labtest.Log{}, lab: l}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the nats-servers:\n%s", s.log)
		}
	})
	place := slices.Clone(l.Backends)
	next := func() *lab.Node {
		n := place[0]
		place = place[1:]
		return n
	}
	for i := range 3 {
		s.servers = append(s.servers, &natsServer{rig: s.rig, name: fmt.Sprintf("n%d", i+1), node: next()})
	}
	for range faultBackends {
		s.addBackend(next())
	}
	for i := range 3 {
		s.balancers = append(s.balancers, s.addNode(fmt.Sprintf("lb%d", i+1), next(), next()))
	}
	s.prober, s.scheduler = s.addNode("p1", next(), nil), s.addNode("s1", next(), nil)
	s.nodes = append(slices.Clone(s.balancers), s.prober, s.scheduler)
	for _, n := range s.servers {
		n.configure(s.servers)
		n.start()
	}
	s.startNodes()
	return s
}

func (s *faultStand) addBackend(n *lab.Node) {
	s.t.Helper()
	b := &faultBackend{name: fmt.Sprintf("web%d", len(s.backends)+1), node: n}
	b.world = &world{node: n, name: b.name}
	b.world.serveAt(s.t, 80)
	b.health = &world{node: n, name: b.name}
	b.health.serveAt(s.t, probePort)
	s.t.Cleanup(b.world.down)
	s.t.Cleanup(b.health.down)
	s.backends = append(s.backends, b)
}

// serveAt is up, for IPv4 and TCP alone and any port.
func (w *world) serveAt(t *testing.T, port uint16) {
	t.Helper()
	l, err := w.node.Listen("tcp", netip.AddrPortFrom(w.node.Addr4, port).String())
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = append(w.open, l)
	go w.serveTCP(l)
}

func (b *faultBackend) die() { b.health.down() }

func (b *faultBackend) live(t *testing.T) {
	t.Helper()
	b.health.serveAt(t, probePort)
}

// addNode prepares a daemon, and the way of its client if it has one.
func (s *faultStand) addNode(name string, where, client *lab.Node) *faultNode {
	s.t.Helper()
	alone := *s.lab // the same network, seen from where the daemon runs
	alone.Balancer = where
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	n := &faultNode{name: name, node: where, client: client, rig: &rig{
		t: s.t, lab: &alone, dir: dir, config: filepath.Join(dir, "steelyard.yaml"), log: &labtest.Log{},
		client: admin.NewClient(filepath.Join(dir, "control.sock")), patience: chooseFaults(10*time.Second, 3*time.Second),
	}}
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("log of %s:\n%s", name, n.log)
		}
	})
	if client != nil {
		n.leadTraffic()
	}
	return n
}

// leadTraffic makes the namespace a balancer, and its client's way lead there.
func (n *faultNode) leadTraffic() {
	n.t.Helper()
	for key, value := range map[string]string{
		"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.send_redirects": "0", "net.ipv4.conf.eth0.send_redirects": "0",
	} {
		if err := n.node.Sysctl(key, value); err != nil {
			n.t.Fatal(err)
		}
	}
	if err := n.client.Sysctl("net.ipv4.ip_local_port_range", "1024 65535"); err != nil {
		n.t.Fatal(err)
	}
	// Where no rule takes a packet to the VIP, it is refused, and not sent in circles.
	n.run(n.node, "ip", "addr", "add", n.lab.VIP4.String()+"/32", "dev", "lo")
	n.run(n.client, "ip", "route", "add", n.lab.VIP4.String()+"/32", "via", n.node.Addr4.String())
}

// startNodes starts all daemons and waits until they answer.
func (s *faultStand) startNodes() {
	s.t.Helper()
	for _, n := range s.nodes {
		s.configure(n)
		n.launch()
	}
	for _, n := range s.nodes {
		n.answers()
		if v, err := n.rig.client.Node(s.t.Context()); err == nil && len(v.Warnings) > 0 {
			s.t.Errorf("%s warns: %v", n.name, v.Warnings)
		}
	}
}
