// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/core/lab"
)

// target is what the probes ask of a backend, as nodes share it.
func (b *faultBackend) target() netip.AddrPort { return netip.AddrPortFrom(b.node.Addr4, 80) }

// shortFaults are those of CI.
func (s *faultStand) shortFaults() []fault {
	return []fault{
		{"kill -9 of the balancer that leads most", 0, func() blow { return s.killNode(s.mostLeads(s.balancers)) }},
		{"SIGSTOP of the balancer that leads most", 2 * time.Second, func() blow { return s.freezeNode(s.mostLeads(s.balancers)) }},
		{"kill -9 of the nats-server with most connections", 0, func() blow { return s.killServers(s.busiest()) }},
	}
}

// longFaults are all.
func (s *faultStand) longFaults() []fault {
	const frozen, cut = 20 * time.Second, 40 * time.Second
	return []fault{
		{"none", 10 * time.Second, func() blow { return blow{end: func() {}} }},
		{"kill -9 of the balancer that leads most", 5 * time.Second, func() blow { return s.killNode(s.mostLeads(s.balancers)) }},
		{"kill -9 of the scheduler", 5 * time.Second, func() blow { return s.killNode(s.scheduler) }},
		{"kill -9 of the prober", 5 * time.Second, func() blow { return s.killNode(s.prober) }},
		{"SIGSTOP of the balancer that leads most, 20 s", frozen, func() blow { return s.freezeNode(s.mostLeads(s.balancers)) }},
		{"SIGSTOP of the scheduler, 20 s", frozen, func() blow { return s.freezeNode(s.scheduler) }},
		{"SIGSTOP of the prober, 20 s", frozen, func() blow { return s.freezeNode(s.prober) }},
		{"kill -9 of the nats-server with most connections", 5 * time.Second, func() blow { return s.killServers(s.busiest()) }},
		{"kill -9 of two nats-servers", 10 * time.Second, func() blow { return s.killServers(s.servers[:2]...) }},
		{"kill -9 of all nats-servers", 10 * time.Second, func() blow { return s.killServers(s.servers...) }},
		{"SIGSTOP of the nats-server with most connections, 20 s", frozen, func() blow { return s.freezeServer(s.busiest()) }},
		{"SIGSTOP of the nats-server with a prober's samples, 20 s", frozen, s.freezeSamples},
		{"the balancer that leads most cut off from NATS, 40 s", cut, func() blow { return s.cutNode(s.mostLeads(s.balancers)) }},
		{"the nats-server with most connections cut off, 40 s", cut, func() blow { return s.cutServer(s.busiest()) }},
		{"vectors of 15 s before once more", 0, func() blow { return s.replay(15 * time.Second) }},
		{"a node whose clock is 2 minutes ahead", 15 * time.Second, func() blow { return s.wrongClock(2 * time.Minute) }},
		{"a node whose clock is 2 minutes behind", 15 * time.Second, func() blow { return s.wrongClock(-2 * time.Minute) }},
		{"a subscriber that reads nothing", 0, s.slowConsumer},
		{"a full disk under JetStream, on all servers", 10 * time.Second, s.fullDisks},
	}
}

// killNode ends a daemon as a crash does, and starts it again.
func (s *faultStand) killNode(n *faultNode) blow {
	s.t.Logf("kill -9 of %s", n.name)
	n.kill()
	return blow{down: []*faultNode{n}, end: func() {
		n.launch()
		n.answers()
	}}
}

// freezeNode stops a daemon, and has it go on.
func (s *faultStand) freezeNode(n *faultNode) blow {
	s.t.Logf("SIGSTOP of %s", n.name)
	s.signal(n.rig.proc, syscall.SIGSTOP)
	return blow{down: []*faultNode{n}, end: func() { s.signal(n.rig.proc, syscall.SIGCONT) }}
}

func (s *faultStand) signal(p *lab.Process, sig syscall.Signal) {
	s.t.Helper()
	if err := p.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// killServers ends nats-servers, and starts them again with an empty store.
func (s *faultStand) killServers(list ...*natsServer) blow {
	for _, n := range list {
		s.t.Logf("kill -9 of %s", n.name)
		s.signal(n.proc, syscall.SIGKILL)
		<-n.proc.Done()
	}
	return blow{end: func() {
		for _, n := range list {
			n.start()
		}
	}}
}

// freezeServer stops a nats-server, and has it go on.
func (s *faultStand) freezeServer(n *natsServer) blow {
	s.t.Logf("SIGSTOP of %s", n.name)
	s.signal(n.proc, syscall.SIGSTOP)
	return blow{end: func() { s.signal(n.proc, syscall.SIGCONT) }}
}

// cutNode drops all that goes between a node and the nats-servers. Clients and backends
// are reached as before, so the node works.
func (s *faultStand) cutNode(n *faultNode) blow {
	s.t.Logf("%s is cut off", n.name)
	var servers []string
	for _, server := range s.servers {
		servers = append(servers, server.node.Addr4.String())
	}
	list := "{" + strings.Join(servers, ",") + "}"
	return blow{end: s.cut(n.node, "ip saddr "+list+" drop", "ip daddr "+list+" drop")}
}

// cutServer drops all that comes to a nats-server or leaves it.
func (s *faultStand) cutServer(n *natsServer) blow {
	s.t.Logf("%s is cut off", n.name)
	return blow{end: s.cut(n.node, "iif != lo drop", "oif != lo drop")}
}

// cut has a namespace drop packets, and returns how that ends.
func (s *faultStand) cut(where *lab.Node, in, out string) func() {
	s.run(where, "nft", fmt.Sprintf("table inet cut {\nchain in { type filter hook input priority -300; %s; }\nchain out { type filter hook output priority -300; %s; }\n}", in, out))
	return func() { s.run(where, "nft", "delete", "table", "inet", "cut") }
}

// freezeSamples stops a nats-server over which the samples of a prober go, while what
// it says of itself goes over another: to the others it is well.
func (s *faultStand) freezeSamples() blow {
	s.t.Helper()
	at := map[string]*natsServer{} // by the name of a connection
	for _, n := range s.servers {
		var v struct {
			Connections []struct{ Name string }
		}
		if err := n.ask("connz", &v); err != nil {
			s.t.Fatal(err)
		}
		for _, c := range v.Connections {
			at[c.Name] = n
		}
	}
	for _, n := range s.nodes {
		data, control := at["steelyard "+n.name+" data"], at["steelyard "+n.name+" control"]
		if n != s.scheduler && data != control {
			s.t.Logf("%s sends samples over %s and all else over %s", n.name, data.name, control.name)
			b := s.freezeServer(data)
			b.asks = n
			return b
		}
	}
	s.t.Log("there is no such server")
	return s.freezeServer(s.busiest())
}
