// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core/lab"
)

// target is what the probes ask of a backend, as nodes share it.
func (b *faultBackend) target() netip.AddrPort { return netip.AddrPortFrom(b.node.Addr4, 80) }

// shortFaults are those of CI.
func (s *faultStand) shortFaults() []fault {
	return []fault{
		{"kill -9 of the balancer that leads most", 0, func() ([]*faultNode, func()) { return s.killNode(s.mostLeads(s.balancers)) }},
		{"SIGSTOP of the balancer that leads most", 2 * time.Second, func() ([]*faultNode, func()) { return s.freezeNode(s.mostLeads(s.balancers)) }},
		{"kill -9 of the nats-server with most connections", 0, func() ([]*faultNode, func()) { return s.killServers(s.busiest()) }},
	}
}

// longFaults are all.
func (s *faultStand) longFaults() []fault {
	const frozen, cut = 20 * time.Second, 40 * time.Second
	return []fault{
		{"none", 10 * time.Second, func() ([]*faultNode, func()) { return nil, func() {} }},
		{"kill -9 of the balancer that leads most", 5 * time.Second, func() ([]*faultNode, func()) { return s.killNode(s.mostLeads(s.balancers)) }},
		{"kill -9 of the scheduler", 5 * time.Second, func() ([]*faultNode, func()) { return s.killNode(s.scheduler) }},
		{"kill -9 of the prober", 5 * time.Second, func() ([]*faultNode, func()) { return s.killNode(s.prober) }},
		{"SIGSTOP of the balancer that leads most, 20 s", frozen, func() ([]*faultNode, func()) { return s.freezeNode(s.mostLeads(s.balancers)) }},
		{"SIGSTOP of the scheduler, 20 s", frozen, func() ([]*faultNode, func()) { return s.freezeNode(s.scheduler) }},
		{"SIGSTOP of the prober, 20 s", frozen, func() ([]*faultNode, func()) { return s.freezeNode(s.prober) }},
		{"kill -9 of the nats-server with most connections", 5 * time.Second, func() ([]*faultNode, func()) { return s.killServers(s.busiest()) }},
		{"kill -9 of two nats-servers", 10 * time.Second, func() ([]*faultNode, func()) { return s.killServers(s.servers[:2]...) }},
		{"kill -9 of all nats-servers", 10 * time.Second, func() ([]*faultNode, func()) { return s.killServers(s.servers...) }},
		{"SIGSTOP of the nats-server with most connections, 20 s", frozen, func() ([]*faultNode, func()) { return s.freezeServer(s.busiest()) }},
		{"the balancer that leads most cut off from NATS, 40 s", cut, func() ([]*faultNode, func()) { return s.cutNode(s.mostLeads(s.balancers)) }},
		{"the nats-server with most connections cut off, 40 s", cut, func() ([]*faultNode, func()) { return s.cutServer(s.busiest()) }},
		{"a node whose clock is 2 minutes ahead", 15 * time.Second, func() ([]*faultNode, func()) { return s.wrongClock(2 * time.Minute) }},
		{"a node whose clock is 2 minutes behind", 15 * time.Second, func() ([]*faultNode, func()) { return s.wrongClock(-2 * time.Minute) }},
		{"a subscriber that reads nothing", 0, s.slowConsumer},
		{"a full disk under JetStream, on all servers", 10 * time.Second, s.fullDisks},
	}
}

// killNode ends a daemon as a crash does, and starts it again.
func (s *faultStand) killNode(n *faultNode) ([]*faultNode, func()) {
	s.t.Logf("kill -9 of %s", n.name)
	n.kill()
	return []*faultNode{n}, func() {
		n.launch()
		n.answers()
	}
}

// freezeNode stops a daemon, and has it go on.
func (s *faultStand) freezeNode(n *faultNode) ([]*faultNode, func()) {
	s.t.Logf("SIGSTOP of %s", n.name)
	s.signal(n.rig.proc, syscall.SIGSTOP)
	return []*faultNode{n}, func() { s.signal(n.rig.proc, syscall.SIGCONT) }
}

func (s *faultStand) signal(p *lab.Process, sig syscall.Signal) {
	s.t.Helper()
	if err := p.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// killServers ends nats-servers, and starts them again with an empty store.
func (s *faultStand) killServers(list ...*natsServer) ([]*faultNode, func()) {
	for _, n := range list {
		s.t.Logf("kill -9 of %s", n.name)
		s.signal(n.proc, syscall.SIGKILL)
		<-n.proc.Done()
	}
	return nil, func() {
		for _, n := range list {
			n.start()
		}
	}
}

// freezeServer stops a nats-server, and has it go on.
func (s *faultStand) freezeServer(n *natsServer) ([]*faultNode, func()) {
	s.t.Logf("SIGSTOP of %s", n.name)
	s.signal(n.proc, syscall.SIGSTOP)
	return nil, func() { s.signal(n.proc, syscall.SIGCONT) }
}

// cutNode drops all that goes between a node and the nats-servers. Clients and backends
// are reached as before, so the node works.
func (s *faultStand) cutNode(n *faultNode) ([]*faultNode, func()) {
	s.t.Logf("%s is cut off", n.name)
	var servers []string
	for _, server := range s.servers {
		servers = append(servers, server.node.Addr4.String())
	}
	list := "{" + strings.Join(servers, ",") + "}"
	return nil, s.cut(n.node, "ip saddr "+list+" drop", "ip daddr "+list+" drop")
}

// cutServer drops all that comes to a nats-server or leaves it.
func (s *faultStand) cutServer(n *natsServer) ([]*faultNode, func()) {
	s.t.Logf("%s is cut off", n.name)
	return nil, s.cut(n.node, "iif != lo drop", "oif != lo drop")
}

// cut has a namespace drop packets, and returns how that ends.
func (s *faultStand) cut(where *lab.Node, in, out string) func() {
	s.run(where, "nft", fmt.Sprintf("table inet cut {\nchain in { type filter hook input priority -300; %s; }\nchain out { type filter hook output priority -300; %s; }\n}", in, out))
	return func() { s.run(where, "nft", "delete", "table", "inet", "cut") }
}

// varz asks a nats-server how it is.
func (n *natsServer) varz() (v struct {
	Connections   int   `json:"connections"`
	SlowConsumers int64 `json:"slow_consumers"`
}, err error) {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: n.lab.Balancer.DialContext, DisableKeepAlives: true}}
	resp, err := c.Get("http://" + netip.AddrPortFrom(n.node.Addr4, 8222).String() + "/varz")
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	return v, json.NewDecoder(resp.Body).Decode(&v)
}

// busiest is the nats-server with the most connections.
func (s *faultStand) busiest() *natsServer {
	s.t.Helper()
	counts := map[*natsServer]int{}
	for _, n := range s.servers {
		v, err := n.varz()
		if err != nil {
			s.t.Fatal(err)
		}
		counts[n] = v.Connections
	}
	best := slices.MaxFunc(s.servers, func(a, b *natsServer) int { return counts[a] - counts[b] })
	s.t.Logf("%s has %d connections", best.name, counts[best])
	return best
}

// slowConsumer subscribes to everything and reads nothing. It lasts until the server
// has cut it off.
func (s *faultStand) slowConsumer() ([]*faultNode, func()) {
	s.t.Helper()
	server := s.busiest()
	before, err := server.varz()
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := s.lab.Balancer.DialContext(s.t.Context(), "tcp", strings.TrimPrefix(server.url(), "nats://"))
	if err != nil {
		s.t.Fatal(err)
	}
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	if _, err := io.WriteString(c, "CONNECT {\"verbose\":false}\r\nSUB > 1\r\nPING\r\n"); err != nil {
		s.t.Fatal(err)
	}
	stop := s.flood(server)
	return nil, func() {
		defer c.Close()
		s.untilWithin(2*time.Minute, server.name+" cuts off who reads nothing", func() error {
			v, err := server.varz()
			if err == nil && v.SlowConsumers <= before.SlowConsumers {
				err = errors.New("it counts no slow consumer")
			}
			return err
		})
		stop()
	}
}

// flood publishes what only a subscriber to everything gets, until the returned
// function is called.
func (s *faultStand) flood(server *natsServer) (stop func()) {
	s.t.Helper()
	nc, err := nats.Connect(server.url(), nats.SetCustomDialer(inNode{s.lab.Balancer}))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		body := make([]byte, 16<<10)
		for ctx.Err() == nil {
			_ = nc.Publish("flood", body)
			wait(2 * time.Millisecond)
		}
	}()
	return func() {
		cancel()
		<-done
		nc.Close()
	}
}

// fullDisks fills the file systems under JetStream. A push is refused then and says why;
// nodes go on.
func (s *faultStand) fullDisks() ([]*faultNode, func()) {
	s.t.Helper()
	s.untilWithin(startPatience, "a push while there is room", func() error { return s.push("first") })
	for _, n := range s.servers {
		s.fill(n)
	}
	s.untilWithin(startPatience, "a push to a full disk is refused", func() error {
		if err := s.push(strings.Repeat("x", 1<<20)); err == nil {
			return errors.New("it was stored")
		} else {
			s.t.Logf("a push to a full disk: %v", err)
			return nil
		}
	})
	return nil, func() {
		for _, n := range s.servers {
			s.signal(n.proc, syscall.SIGKILL)
			<-n.proc.Done()
			n.start() // with room again
		}
	}
}

// fill leaves no byte of a server's store, from outside of its mount namespace.
func (s *faultStand) fill(n *natsServer) {
	s.t.Helper()
	f, err := os.Create(filepath.Join(fmt.Sprintf("/proc/%d/root", n.proc.PID), n.store(), "fill"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for written := 0; ; written += len(block) {
		_, err := f.Write(block)
		if errors.Is(err, syscall.ENOSPC) {
			s.t.Logf("%s: %d kB filled the disk", n.name, written>>10)
			return
		}
		if err != nil || written > 64<<20 {
			s.t.Fatalf("fill the disk of %s: %v", n.name, err)
		}
	}
}
