// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/lab"
)

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
jetstream { store_dir: "%s", max_mem: 16M, max_file: 1G }
%s`, n.name, strings.Join(routes, ", "), n.store(), packagedSettings(n.t))
	if err := os.WriteFile(n.conf, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Mkdir(n.store(), 0o755); err != nil {
		n.t.Fatal(err)
	}
}

// packagedSettings are those by which the server of packaging/nats treats its clients.
func packagedSettings(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../packaging/nats/server.conf")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		switch key, _, _ := strings.Cut(line, ":"); key {
		case "max_pending", "write_deadline", "ping_interval", "max_payload":
			out.WriteString(line)
		}
	}
	return out.String()
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

// newMountNamespace has a process mount for itself alone.
func newMountNamespace() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
}

// varz is how a nats-server is.
type varz struct {
	Connections   int
	SlowConsumers int64 `json:"slow_consumers"`
}

func (n *natsServer) varz() (v varz, err error) {
	err = n.ask("varz", &v)
	return v, err
}

// ask asks a nats-server over HTTP.
func (n *natsServer) ask(what string, v any) error {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: n.lab.Balancer.DialContext, DisableKeepAlives: true}}
	resp, err := c.Get("http://" + netip.AddrPortFrom(n.node.Addr4, 8222).String() + "/" + what)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(v)
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
