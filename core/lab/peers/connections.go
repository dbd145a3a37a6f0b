// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab"
)

const (
	dnatPort  = 80
	masqPort  = 81
	proxyPort = 80 // in a lab of its own, without any rule
)

// A way is one way from the client to the servers.
type way struct {
	name    string
	lab     *lab.Lab
	targets []string
	servers []*lab.Process
	process func() *lab.Process // that balances; nil for none
	// prepare is called before each measurement; nil for nothing to do.
	prepare func(context.Context) error

	perSecond []float64 // connections
	cpu       []float64 // µs per connection, of everybody
	own       []float64 // µs per connection, of the balancing process
	added     []float64 // µs per connection, over the plain route of the same run
}

// connect compares what a connection costs.
func (b *bench) connect(ctx context.Context) (t table, err error) {
	var ways []way
	for _, s := range []struct {
		name string
		ways func(context.Context, *lab.Lab, []*lab.Process) ([]way, error)
	}{{"proxy", b.proxyWays}, {"static", staticWays}, {"daemon", b.daemonWays}} {
		l, err := b.stage(ctx, s.name, liveBackends)
		if err != nil {
			return t, err
		}
		defer closing(l, &err)
		servers, err := startServers(l)
		if err != nil {
			return t, err
		}
		more, err := s.ways(ctx, l, servers)
		if err != nil {
			return t, err
		}
		ways = append(ways, more...)
	}
	for i := range ways {
		if err := ways[i].answers(ctx); err != nil {
			return t, err
		}
	}
	for run := range b.runs {
		b.note("connections: run %d of %d", run+1, b.runs)
		for i := range ways {
			if err := b.measure(ctx, &ways[i]); err != nil {
				return t, fmt.Errorf("%s: %w", ways[i].name, err)
			}
			w := &ways[i]
			w.added = append(w.added, w.cpu[run]-ways[0].cpu[run])
		}
	}
	return b.connectTable(ways), nil
}

// proxyWays are the plain route, through a balancer without a rule, which comes
// first, and haproxy beside it.
func (b *bench) proxyWays(_ context.Context, l *lab.Lab, servers []*lab.Process) ([]way, error) {
	if err := l.Balancer.Sysctl("net.ipv4.ip_local_port_range", "1024 65535"); err != nil {
		return nil, err
	}
	p, err := b.startHAProxy(l)
	if err != nil {
		return nil, err
	}
	plain := way{name: "plain route, no balancer", lab: l, servers: servers}
	for _, n := range l.Backends {
		plain.targets = append(plain.targets, address(n.Addr4, serverPort))
	}
	return []way{plain, {
		name: "haproxy, TCP mode", lab: l, servers: servers,
		targets: []string{address(l.VIP4, proxyPort)}, process: func() *lab.Process { return p },
	}}, nil
}

// staticWays are about the least that balancing by destination NAT can cost on
// this kernel: one rule that picks one of the backends, and the connection
// tracking that it needs.
func staticWays(ctx context.Context, l *lab.Lab, servers []*lab.Process) ([]way, error) {
	var backends []string
	for i, n := range l.Backends {
		backends = append(backends, fmt.Sprintf("%d : %s . %d", i, n.Addr4, serverPort))
	}
	pick := fmt.Sprintf("dnat ip addr . port to numgen random mod %d map { %s }", len(backends), strings.Join(backends, ", "))
	for _, line := range [][]string{
		{"add", "table", "ip", "static"},
		{"add", "chain", "ip", "static", "pre", "{ type nat hook prerouting priority dstnat; }"},
		{"add", "rule", "ip", "static", "pre", "ip", "daddr", l.VIP4.String(), "tcp", "dport", text(dnatPort), pick},
	} {
		if _, err := l.Balancer.Command(ctx, "nft", line...); err != nil {
			return nil, err
		}
	}
	w := way{name: "one static nft rule, no conntrack events", lab: l, servers: servers, targets: []string{address(l.VIP4, dnatPort)}}
	return []way{w}, errors.Join(shortTimeWait(l), noEvents(l))
}

// daemonWays are both forwarding modes under the daemon as it comes, with a policy
// that reads nothing, and with one for which every connection is followed.
func (b *bench) daemonWays(ctx context.Context, l *lab.Lab, servers []*lab.Process) (ways []way, err error) {
	d, err := b.newDaemon(l, []listen{{dnatPort, core.DNAT}, {masqPort, core.Masquerade}})
	if err != nil {
		return nil, err
	}
	if err := d.start(ctx); err != nil {
		return nil, err
	}
	for _, policy := range []string{"weighted", "least-conn"} {
		w := way{
			lab: l, servers: servers, process: func() *lab.Process { return d.proc },
			prepare: func(ctx context.Context) error { return d.use(ctx, policy) },
		}
		ways = append(ways, bothModes(w, "steelyard run, "+policy+", ")...)
	}
	return ways, shortTimeWait(l)
}

// noEvents keeps the kernel from telling of connections. Without a listener it
// would not tell, but a listener in any namespace of the machine, such as the
// daemon in the lab next door, has it write the messages in all of them.
func noEvents(l *lab.Lab) error {
	return l.Balancer.Sysctl("net.netfilter.nf_conntrack_events", "0")
}

func bothModes(w way, name string) []way {
	dnat, masq := w, w
	dnat.name, dnat.targets = name+"dnat", []string{address(w.lab.VIP4, dnatPort)}
	masq.name, masq.targets = name+"masquerade", []string{address(w.lab.VIP4, masqPort)}
	return []way{dnat, masq}
}

// shortTimeWait keeps thousands of connections that ended from filling the
// host's conntrack table.
func shortTimeWait(l *lab.Lab) error {
	return l.Balancer.Sysctl("net.netfilter.nf_conntrack_tcp_timeout_time_wait", "2")
}

// answers waits until a connection goes through.
func (w *way) answers(ctx context.Context) error {
	p := w.servers[0]
	if w.process != nil {
		p = w.process()
	}
	return await(ctx, w.name, p, func() error {
		return w.lab.Client.Do(func() error { return exchange(w.targets[0]) })
	})
}

func (b *bench) startHAProxy(l *lab.Lab) (*lab.Process, error) {
	var cfg strings.Builder
	fmt.Fprintf(&cfg, "global\n maxconn 1000\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"+
		"frontend in\n bind %s\n default_backend out\nbackend out\n balance roundrobin\n", address(l.VIP4, proxyPort))
	for _, n := range l.Backends {
		fmt.Fprintf(&cfg, " server %s %s\n", n.Name, address(n.Addr4, serverPort))
	}
	path := filepath.Join(b.dir, "haproxy.cfg")
	if err := os.WriteFile(path, []byte(cfg.String()), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command("haproxy", "-f", path, "-db")
	cmd.Stderr = os.Stderr
	return l.Balancer.Start(cmd)
}

// measure makes the connections once.
func (b *bench) measure(ctx context.Context, w *way) error {
	var out bytes.Buffer
	load := exec.Command("/proc/self/exe", append([]string{"load", text(b.connections)}, w.targets...)...)
	load.Stdout, load.Stderr = &out, os.Stderr
	if w.prepare != nil {
		if err := w.prepare(ctx); err != nil {
			return err
		}
	}
	before, err := w.spent()
	if err != nil {
		return err
	}
	p, err := w.lab.Client.Start(load)
	if err != nil {
		return err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := w.spent()
	if err != nil {
		return err
	}
	var r loadResult
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return fmt.Errorf("the load ended with %v and said %q", p.Err(), out.String())
	}
	if r.Failed > 0 {
		return fmt.Errorf("%d of %d connections failed", r.Failed, b.connections)
	}
	n := float64(b.connections)
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / n }
	w.perSecond = append(w.perSecond, n/r.Took.Seconds())
	w.own = append(w.own, each(after.process-before.process))
	w.cpu = append(w.cpu, each(after.total()-before.total()+r.CPU))
	return nil
}

func (b *bench) connectTable(ways []way) table {
	t := table{
		title: "New connections",
		intro: fmt.Sprintf("%d connections per run, %d at a time: one byte there, one back, close. Client, balancer and %d servers share the cores, so the rate is of all of them together. "+
			"CPU is user and system time of client, servers, balancing process and the kernel's softirq threads; this kernel counts a softirq as time of the process that it interrupts, "+
			"which for veth links is the one that sends, so the packet path is in it. *Added* is what is above the plain route through the same kind of namespace in the same run: "+
			"the balancer's share, whoever's clock it ran on. The daemon follows the kernel's conntrack events only if something needs live counts: with `least-conn` it does, with `weighted` it does not.", b.connections, parallel, liveBackends),
		head: []string{"what", "connections/s", "CPU per connection", "of it, the process", "added by the balancer", "added ÷ haproxy"},
	}
	if irqTimeIsSeparate() {
		t.intro += " This kernel counts softirqs apart (CONFIG_IRQ_TIME_ACCOUNTING): the machine's softirq time is added, others' included."
	}
	proxy := quantile(ways[1].added, 0.5)
	for i, w := range ways {
		added, against := "–", "–"
		if i > 0 {
			a := quantile(w.added, 0.5)
			added, against = micros(a), ratio(a, proxy)
		}
		t.row(w.name, fmt.Sprintf("%.0f", quantile(w.perSecond, 0.5)), micros(quantile(w.cpu, 0.5)), micros(quantile(w.own, 0.5)), added, against)
	}
	return t
}

func micros(v float64) string { return fmt.Sprintf("%.1f µs", v) }
