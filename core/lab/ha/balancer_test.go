// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// A balancer is one machine: a namespace, and what runs in it.
type balancer struct {
	s         *stand
	name      string
	node      *lab.Node
	dir       string
	log       *labtest.Log
	steelyard *lab.Process
	processes map[string]*lab.Process // by program
}

func newBalancer(s *stand, name string, n *lab.Node) *balancer {
	s.t.Helper()
	b := &balancer{s: s, name: name, node: n, dir: filepath.Join(s.dir, name), log: &labtest.Log{}, processes: map[string]*lab.Process{}}
	s.must(os.Mkdir(b.dir, 0o755))
	for line := range strings.Lines(s.packaged("keepalived/90-steelyard-ha.conf") + s.packaged("conntrackd/91-steelyard-conntrackd.conf")) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " = ")
		if ok && !strings.HasPrefix(key, "#") {
			s.must(n.Sysctl(key, value))
		}
	}
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("log of %s:\n%s", name, b.log)
		}
	})
	return b
}

// start runs a program, under its name, with its output in the balancer's log.
func (b *balancer) start(program string, args ...string) *lab.Process {
	b.s.t.Helper()
	cmd := exec.Command(program, args...)
	// keepalived asks for its host name first, and no resolver is to be had here.
	cmd.Env = append(os.Environ(), "CONNTRACKD_CONF="+b.path("conntrackd.conf"), "RES_OPTIONS=timeout:1 attempts:1")
	cmd.Stdout, cmd.Stderr = b.log, b.log
	p, err := b.node.Start(cmd)
	b.s.must(err)
	b.processes[filepath.Base(program)] = p
	return p
}

func (b *balancer) path(name string) string { return filepath.Join(b.dir, name) }

func (b *balancer) write(name, text string, mode os.FileMode) {
	b.s.t.Helper()
	b.s.must(os.WriteFile(b.path(name), []byte(text), mode))
}

// balance starts steelyard and waits until its kernel deals over both servers. words
// are keys of the service.
func (b *balancer) balance(words string) {
	b.s.t.Helper()
	var servers []string
	for _, n := range b.s.servers {
		servers = append(servers, fmt.Sprintf(`%s: {address: "%s", port: 80}`, n.Name, b.s.of(n)))
	}
	b.write("steelyard.yaml", fmt.Sprintf(`node: %s
state_dir: %[2]s/state
control: {socket: %[2]s/control.sock}
http: {listen: "%[3]s"}
kernel: {hash_seed: 7}
probes:
  alive: {type: tcp, interval: 500ms, timeout: 450ms, rise: 1, fall: 5} # no server dies
services:
  web: {vip: "%[4]s", port: 80, policy: weighted, every: 500ms, probes: [alive], %[5]s, backends: {%[6]s}}
`, b.name, b.dir, b.s.ready, b.s.vip, words, strings.Join(servers, ", ")), 0o600)
	b.run()
}

// run starts steelyard with the configuration that is there.
func (b *balancer) run() {
	b.s.t.Helper()
	b.steelyard = b.start(labtest.Steelyard(b.s.t), "run", "-c", b.path("steelyard.yaml"))
	client := admin.NewClient(b.path("control.sock"))
	b.s.until(b.name+" deals over both servers", func() error {
		v, err := client.Node(b.s.t.Context())
		if err != nil {
			return err
		}
		for _, one := range v.Services[0].Backends {
			if one.Health != core.Up || one.Slots == 0 {
				return fmt.Errorf("%s is %s with %d slots", one.Name, one.Health, one.Slots)
			}
		}
		return nil
	})
}

// crash ends steelyard alone, as kill -9 does.
func (b *balancer) crash() {
	b.s.t.Helper()
	b.s.must(b.steelyard.Signal(syscall.SIGKILL))
	<-b.steelyard.Done()
}

// die is the machine's end, without a last word. Its links stay up, and nobody is told:
// a switch that sees one go down floods what is for the machine, and another balancer's
// ingress hook would take it.
func (b *balancer) die() {
	b.s.t.Helper()
	var dead strings.Builder
	for _, link := range []string{"eth0", "sync"} {
		for _, hook := range []string{"ingress", "egress"} {
			fmt.Fprintf(&dead, "chain %s-%s { type filter hook %s device %q priority -500; policy drop; }\n", hook, link, hook, link)
		}
	}
	_, err := b.node.Command(b.s.t.Context(), "nft", "table netdev dead {\n"+dead.String()+"}")
	b.s.must(err)
	for _, p := range b.processes {
		p.Kill()
	}
}

// has says whether the balancer's interface carries an address.
func (b *balancer) has(addr string) bool {
	b.s.t.Helper()
	out, err := b.node.Command(b.s.t.Context(), "ip", "-o", "addr", "show", "dev", "eth0")
	b.s.must(err)
	return slices.ContainsFunc(strings.Fields(string(out)), func(f string) bool { return strings.HasPrefix(f, addr+"/") })
}

// said says that a text is not in the log, if it is not.
func (b *balancer) said(text string) error {
	if !strings.Contains(b.log.String(), text) {
		return fmt.Errorf("the log of %s has no %q", b.name, text)
	}
	return nil
}
