// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

const (
	clusterServices = 6
	clusterBus      = "198.51.100.1:4222" // the balancer's end of the backends' network
)

// A group is three daemons with the same services, which meet over a real nats-server.
// Only the first is on the way of the client; the others have kernels of their own.
type group struct {
	*rig
	nodes []*rig
}

// newGroup builds a lab in which the first two of four backends serve, and the others run
// daemons, as does the balancer.
func newGroup(t *testing.T) *group {
	t.Helper()
	first := newRig(t, 4)
	g := &group{rig: first}
	startNATS(t, first)
	for i, where := range []*lab.Node{first.lab.Balancer, first.lab.Backends[2], first.lab.Backends[3]} {
		g.nodes = append(g.nodes, g.join(fmt.Sprintf("lb%d", i+1), where))
	}
	return g
}

// startNATS runs the server in the balancer's namespace.
func startNATS(t *testing.T, r *rig, more ...string) *lab.Process {
	t.Helper()
	path, err := exec.LookPath("nats-server")
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatal("nats-server is not installed; apt-get install nats-server")
	default:
		t.Skip("nats-server is not installed")
	}
	host, port, _ := strings.Cut(clusterBus, ":")
	p, err := r.lab.Balancer.Start(exec.Command(path, append([]string{"-a", host, "-p", port}, more...)...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// join starts a daemon in a namespace.
func (g *group) join(name string, where *lab.Node) *rig {
	g.t.Helper()
	alone := *g.lab // the same network, seen from where the daemon runs
	alone.Balancer = where
	dir := filepath.Join(g.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		g.t.Fatal(err)
	}
	r := &rig{
		t: g.t, lab: &alone, dir: dir, config: filepath.Join(dir, "steelyard.yaml"), log: &labtest.Log{},
		client: admin.NewClient(filepath.Join(dir, "control.sock")), worlds: g.worlds,
	}
	g.t.Cleanup(func() {
		if g.t.Failed() {
			g.t.Logf("log of %s:\n%s", name, r.log)
		}
	})
	var b strings.Builder
	fmt.Fprintf(&b, "bus: {servers: ['nats://%s']}\ncluster: {group: edge}\nservices:\n", clusterBus)
	for i := range clusterServices {
		fmt.Fprintf(&b, "  web%d: {vip: %s, port: %d, policy: weighted, every: 500ms, probes: [alive], backends: %s}\n",
			i, g.lab.VIP4, 80+i, g.backends(false, 30, 70))
	}
	r.write(b.String())
	text, err := os.ReadFile(r.config)
	if err == nil {
		err = os.WriteFile(r.config, []byte(strings.Replace(string(text), "node: test\n", "node: "+name+"\n", 1)), 0o600)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	r.start()
	return r
}

// agreed returns who leads each service, if the nodes agree on that and carry the same
// slots.
func (g *group) agreed(nodes []*rig) ([clusterServices]string, error) {
	var leaders [clusterServices]string
	var slots [clusterServices][]uint32
	for _, n := range nodes {
		v, err := n.client.Node(g.t.Context())
		if err != nil {
			return leaders, err
		}
		for i := range clusterServices {
			s := v.Services[slices.IndexFunc(v.Services, func(s core.ServiceView) bool { return s.Name == fmt.Sprint("web", i) })]
			leader := v.Node
			if s.Leader != nil {
				leader = s.Leader.Node
			}
			var here []uint32
			for _, b := range s.Backends {
				here = append(here, b.Slots)
			}
			if leaders[i] == "" {
				leaders[i], slots[i] = leader, here
			}
			if leader != leaders[i] || !slices.Equal(here, slots[i]) {
				return leaders, fmt.Errorf("%s: %s says that %s leads %v, another that %s leads %v", s.Name, v.Node, leader, here, leaders[i], slots[i])
			}
		}
	}
	return leaders, nil
}

// untilAgreed waits until the nodes agree, each service is led by the first choice among
// names, and the slots of the first backend are as wanted.
func (g *group) untilAgreed(what string, nodes []*rig, names []string, first uint32) [clusterServices]string {
	g.t.Helper()
	var leaders [clusterServices]string
	g.untilWithin(startPatience, what, func() (err error) {
		if leaders, err = g.agreed(nodes); err != nil {
			return err
		}
		order := core.NewRendezvous(names)
		for i, l := range leaders {
			if first := order.Rank(core.KeyOf(fmt.Sprint("web", i)), 1)[0]; l != first {
				return fmt.Errorf("%s leads web%d, and the first choice is %s", l, i, first)
			}
		}
		for _, n := range nodes {
			if err := n.kernelHolds(n.lab.Backends[0].Addr4, first > 0); err != nil {
				return err
			}
			s, err := n.service("web0")
			if err != nil {
				return err
			}
			if got := s.Backends[0].Slots; got != first {
				return fmt.Errorf("b1 has %d slots, want %d", got, first)
			}
		}
		return nil
	})
	return leaders
}

// kernelHolds asks the kernel itself whether a backend has a place in the weights.
func (r *rig) kernelHolds(addr netip.Addr, want bool) error {
	out, err := r.lab.Balancer.Command(r.t.Context(), "nft", "list", "table", "inet", "steelyard")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "-") && strings.Contains(line, ": "+addr.String()+" . ") {
			if !want {
				return errors.New("the dead backend is in the kernel: " + strings.TrimSpace(line))
			}
			return nil
		}
	}
	if want {
		return fmt.Errorf("%v is not in the kernel's weights", addr)
	}
	return nil
}

// sees says so if a member of the group is not in this state.
func (r *rig) sees(name string, want core.MemberState) error {
	v, err := r.client.Node(r.t.Context())
	if err != nil {
		return err
	}
	for _, m := range v.Cluster.Members {
		if m.Node == name && m.State != want {
			return fmt.Errorf("%s is %s, want %s", name, m.State, want)
		}
	}
	return nil
}

// Three balancers agree; the leader of some services is killed, and then a backend.
func TestClusterTakesOver(t *testing.T) {
	t.Parallel()
	g := newGroup(t)
	const weighted = 19661 // 30 % of 65536
	all := []string{"lb1", "lb2", "lb3"}
	leaders := g.untilAgreed("three nodes agree", g.nodes, all, weighted)
	t.Logf("leaders: %v", leaders)
	g.followerSaysWhy(leaders[0])
	g.untilAgreed("three nodes agree on the share of before", g.nodes, all, weighted)

	stop := g.background("tcp", g.vip4(80))
	dead := slices.Index(all, leaders[0])
	g.nodes[dead].kill()
	begin := time.Now()
	rest := slices.Delete(slices.Clone(g.nodes), dead, dead+1)
	names := slices.Delete(slices.Clone(all), dead, dead+1)
	g.untilAgreed("the others agree without "+leaders[0], rest, names, weighted)
	t.Logf("two agreed %v after %s was killed", time.Since(begin), leaders[0])
	tally := stop()
	if len(tally.failed) > 0 || tally.asked == 0 {
		t.Errorf("of %d connections failed: %v", tally.asked, tally.failed)
	}

	// Who probed the backend may be the one that was killed: then it moves first.
	g.worlds[0].down()
	begin = time.Now()
	g.untilAgreed("the dead backend leaves the kernels", rest, names, 0)
	t.Logf("the dead backend left both kernels within %v", time.Since(begin))

	g.nodes[dead].start()
	g.untilAgreed("three nodes agree again", g.nodes, all, 0)
	g.worlds[0].up(t)
	g.untilAgreed("the backend is back in three kernels", g.nodes, all, weighted)

	// One that was stopped for a while.
	if err := g.nodes[dead].proc.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	g.untilAgreed("the others agree without "+leaders[0], rest, names, weighted)
	if err := g.nodes[dead].proc.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	g.untilAgreed("three nodes agree after the stop", g.nodes, all, weighted)

	// One that ends says so.
	if err := g.nodes[dead].proc.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-g.nodes[dead].proc.Done()
	for _, n := range rest {
		g.until("its end is known", func() error { return n.sees(leaders[0], core.MemberLeft) })
	}
	g.untilAgreed("the others agree without "+leaders[0], rest, names, weighted)
}

// A service that has reached one node only, as between two reloads of a group, is served
// there, although its probes are those nodes' part that know nothing of them.
func TestServiceOfOneNode(t *testing.T) {
	t.Parallel()
	g := newGroup(t)
	g.untilAgreed("three nodes agree", g.nodes, []string{"lb1", "lb2", "lb3"}, 19661) // 30 % of 65536
	first := g.nodes[0]
	text, err := os.ReadFile(first.config)
	if err != nil {
		t.Fatal(err)
	}
	var specs strings.Builder
	names := []string{"p0", "p1", "p2", "p3", "p4", "p5"} // some fall to each node
	for _, name := range names {
		fmt.Fprintf(&specs, "  %s: {type: tcp, interval: 100ms, timeout: 90ms}\n", name)
	}
	extra := fmt.Sprintf("  extra: {vip: %s, port: 99, probes: [%s], backends: %s}\n", g.lab.VIP4, strings.Join(names, ", "), g.backends(false, 1))
	with := strings.Replace(string(text), "probes:\n", "probes:\n"+specs.String(), 1) + extra
	if err := os.WriteFile(first.config, []byte(with), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := first.client.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	first.untilWithin(30*time.Second, "the only backend is up", func() error {
		s, err := first.service("extra")
		if err == nil && s.Backends[0].State != core.StateUp {
			err = fmt.Errorf("%s is %s: %s", s.Backends[0].Name, s.Backends[0].State, s.Backends[0].Why)
		}
		return err
	})
	t.Logf("served after %v", time.Since(begin))
}
