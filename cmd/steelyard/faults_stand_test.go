// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// faultsLong says that `make cluster-lab` runs these tests, and not `go test`.
var faultsLong = os.Getenv("STEELYARD_CLUSTER_LAB") != ""

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
	*rig        // of the lab; it has no daemon
	servers     []*natsServer
	nodes       []*faultNode
	backends    []*faultBackend
	balancers   []*faultNode // those of nodes that carry traffic
	scheduler   *faultNode
	prober      *faultNode
	watch       *faultWatch
	traffic     *faultTraffic
	rows        []faultRow
	nextVictims int // counts faults, so that backends take turns to die
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
	s := &faultStand{rig: &rig{t: t, dir: dir, log: &syncBuffer{}, lab: l}}
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
		t: s.t, lab: &alone, dir: dir, config: filepath.Join(dir, "steelyard.yaml"), log: &syncBuffer{},
		client: admin.NewClient(filepath.Join(dir, "control.sock")),
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


// restless is a policy whose answer is another in each tenth of a second: the slots of
// the first backend tell when it was decided. See decidedAt.
const restless = `
    policy = { about = "another answer in each tenth of a second", reads = {} }
    function schedule(s)
      local w, first = {}, 4096 + math.floor(s.now * 10) % 4096
      for i = 1, s.n do w[i] = (65536 - first) / (s.n - 1) end
      w[1] = first
      return w
    end
`

// decidedAt is when the restless policy gave the backends these slots, at or before now;
// the pattern repeats after seven minutes. Some slots tell no time: those of before the
// first decision, of when a backend was dead, and of when it has just come back.
func decidedAt(slots slotsOf, first string, now time.Time) (at time.Time, ok bool) {
	const cycle = 4096
	is := int64(slots[first]) - cycle
	if len(slots) < faultBackends || is < 0 || is >= cycle {
		return at, false
	}
	each := (core.Slots - is - cycle) / (faultBackends - 1)
	for name, n := range slots {
		if name != first && (int64(n) < each || int64(n) > each+1) {
			return at, false
		}
	}
	tenths := now.UnixMilli() / 100
	age := (tenths%cycle - is + cycle) % cycle
	return time.UnixMilli((tenths - age) * 100), true
}

// configure writes the configuration of a node.
func (s *faultStand) configure(n *faultNode) {
	s.t.Helper()
	roles := map[*faultNode]string{s.prober: "[probe]", s.scheduler: "[schedule]"}
	var urls, backends []string
	for _, server := range s.servers {
		urls = append(urls, "'"+server.url()+"'")
	}
	for _, b := range s.backends {
		backends = append(backends, fmt.Sprintf("%s: {address: %s, port: 80}", b.name, b.node.Addr4))
	}
	var text strings.Builder
	fmt.Fprintf(&text, `node: %s
state_dir: %[2]s/state
control: {socket: %[2]s/control.sock}
log: {level: info, format: text}
roles: %s
bus: {servers: [%s]}
cluster: {group: %s}
probes:
  alive: {type: tcp, port: %d, interval: 500ms, timeout: 450ms, rise: 2, fall: 2}
policies:
  restless:
    lua: |%s
services:
`, n.name, n.dir, cmp.Or(roles[n], "[probe, schedule, apply]"), strings.Join(urls, ", "), faultGroup, probePort, strings.ReplaceAll(restless, "\n", "\n  "))
	for i := range faultServices {
		fmt.Fprintf(&text, "  %s: {vip: %s, port: %d, forwarding: masquerade, policy: restless, every: %s, probes: [alive], shaping: {floor: 0, step: 0, dead_band: 0}, backends: {%s}}\n",
			faultService(i), s.lab.VIP4, 80+i, chooseFaults("300ms", "100ms"), strings.Join(backends, ", "))
	}
	if err := os.WriteFile(n.config, []byte(text.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// faultService is the name of a service. By these names each node that may lead does.
func faultService(i int) string { return "web" + "abcdh"[i:i+1] }

// startNodes starts all daemons and waits until they answer.
func (s *faultStand) startNodes() {
	s.t.Helper()
	for _, n := range s.nodes {
		s.configure(n)
		n.launch()
	}
	for _, n := range s.nodes {
		n.answers()
	}
}

// A natsServer is one of the three.
type natsServer struct {
	*rig
	name string
	node *lab.Node
	conf string
	proc *lab.Process
}

func (n *natsServer) url() string { return fmt.Sprintf("nats://%s:4222", n.node.Addr4) }

// store is where JetStream keeps its files: a small file system of the server alone.
func (n *natsServer) store() string { return filepath.Join(n.dir, n.name+"-store") }

func (n *natsServer) configure(all []*natsServer) {
	n.t.Helper()
	var routes []string
	for _, o := range all {
		routes = append(routes, fmt.Sprintf("nats-route://%s:6222", o.node.Addr4))
	}
	n.conf = filepath.Join(n.dir, n.name+".conf")
	text := fmt.Sprintf(`server_name: %s
listen: "0.0.0.0:4222"
http: "0.0.0.0:8222"
cluster { name: lab, listen: "0.0.0.0:6222", routes: [%s] }
jetstream { store_dir: "%s", max_mem: 16M, max_file: 64M }
`, n.name, strings.Join(routes, ", "), n.store())
	if err := os.WriteFile(n.conf, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Mkdir(n.store(), 0o755); err != nil {
		n.t.Fatal(err)
	}
}

// storeBytes is less than what the server believes that it has.
const storeBytes = "4m"

// start runs the server with its store in a mount namespace of its own: the file system
// is gone with it, however it ends.
func (n *natsServer) start() {
	n.t.Helper()
	script := `mount -t tmpfs -o size=` + storeBytes + ` steelyard "$1" && exec nats-server -c "$2"`
	cmd := exec.Command("sh", "-c", script, "nats", n.store(), n.conf)
	cmd.SysProcAttr = newMountNamespace()
	cmd.Stdout, cmd.Stderr = n.log, n.log
	var err error
	if n.proc, err = n.node.Start(cmd); err != nil {
		n.t.Fatal(err)
	}
}

// others are the nodes besides some.
func (s *faultStand) others(without []*faultNode) []*faultNode {
	return slices.DeleteFunc(slices.Clone(s.nodes), func(n *faultNode) bool { return slices.Contains(without, n) })
}

// agreed says how the nodes disagree: each service has one leader, which is the first
// choice, and all know it; the balancers' kernels have the same slots, and all backends
// have some.
func (s *faultStand) agreed(nodes []*faultNode) error {
	views := map[string]core.NodeView{}
	for _, n := range nodes {
		v, err := n.rig.client.Node(s.t.Context())
		if err != nil {
			return err
		}
		views[n.name] = v
	}
	for i := range faultServices {
		if err := oneLeader(views, faultService(i)); err != nil {
			return err
		}
	}
	return s.sameSlots(nodes)
}

// oneLeader says so if a service has not exactly one leader, whom all follow.
func oneLeader(views map[string]core.NodeView, service string) error {
	var leaders []string
	follows := map[string]string{}
	for name, v := range views {
		i := slices.IndexFunc(v.Services, func(s core.ServiceView) bool { return s.Name == service })
		if i < 0 {
			return fmt.Errorf("%s has no service %s", name, service)
		}
		if l := v.Services[i].Leader; l != nil {
			follows[name] = l.Node
		} else if slices.Contains(v.Roles, "schedule") {
			leaders = append(leaders, name)
		} else {
			return fmt.Errorf("%s knows no leader of %s", name, service)
		}
	}
	if len(leaders) != 1 {
		return fmt.Errorf("%v lead %s; the others follow %v", leaders, service, follows)
	}
	var may []string
	for name, v := range views {
		if slices.Contains(v.Roles, "schedule") {
			may = append(may, name)
		}
	}
	if first := core.NewRendezvous(may).Rank(core.KeyOf(service), 1)[0]; first != leaders[0] {
		return fmt.Errorf("%s leads %s, and the first choice is %s", leaders[0], service, first)
	}
	for name, l := range follows {
		if l != leaders[0] {
			return fmt.Errorf("%s follows %s in %s, which %s leads", name, l, service, leaders[0])
		}
	}
	return nil
}

// sameSlots says how the kernels differ.
func (s *faultStand) sameSlots(nodes []*faultNode) error {
	for i := range faultServices {
		var first slotsOf
		for _, b := range s.balancers {
			if !slices.Contains(nodes, b) {
				continue
			}
			here, err := s.watch.of(b).read(faultService(i))
			switch {
			case err != nil:
				return err
			case len(here) != len(s.backends):
				return fmt.Errorf("%d of %d backends have slots in %s on %s", len(here), len(s.backends), faultService(i), b.name)
			case first == nil:
				first = here
			case !first.same(here):
				return fmt.Errorf("%s has other slots of %s than another: %v, %v", b.name, faultService(i), here, first)
			}
		}
	}
	return nil
}

// untilAgreed waits until the nodes agree.
func (s *faultStand) untilAgreed(what string, nodes []*faultNode) {
	s.t.Helper()
	s.untilWithin(startPatience, what, func() error { return s.agreed(nodes) })
}
