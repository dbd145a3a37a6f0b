// SPDX-License-Identifier: Apache-2.0

package examples_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
)

// TestCluster has two nodes of example 06 meet over a real nats-server, set up as its
// README says.
func TestCluster(t *testing.T) {
	cfg := loaded(t, "06-cluster")
	want := core.ClusterSpec{Group: "edge", Roles: core.AllRoles, Probers: 2, Quorum: 2, Scheduling: core.ScheduleLeader}
	if cfg.Cluster != want || cfg.Node != "lb1" || cfg.HTTP.Listen == "" {
		t.Fatalf("cluster %+v of %s, http %+v", cfg.Cluster, cfg.Node, cfg.HTTP)
	}
	roles := []bus.Role{bus.ProberRole, bus.SchedulerRole, bus.BalancerRole, bus.FollowerRole}
	var conf, users strings.Builder
	for _, node := range []string{"lb1", "lb2"} {
		text, err := bus.PermissionsConfig(roles, node, cfg.Cluster.Group)
		if err != nil {
			t.Fatal(err)
		}
		conf.WriteString(text)
		fmt.Fprintf(&users, "  {user: %s, password: %q, permissions: $%s}\n", node, cfg.Bus.Login.Password.Reveal(), bus.PermissionsName(node))
	}
	fmt.Fprintf(&conf, "authorization { users: [\n%s] }\n", users.String())
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	port := bustest.FreePort(t)
	bustest.StartServer(t, port, nil, "-c", file)
	join := func(node string) *bus.Bus {
		return bustest.StartWith(t, bus.Options{Node: node, Servers: []string{fmt.Sprintf("nats://127.0.0.1:%d", port)},
			Login: bus.Login{User: node, Password: cfg.Bus.Login.Password}})
	}
	meets(t, join("lb1"), join("lb2"))
}

// meets waits until two hears that one is there.
func meets(t *testing.T, one, two *bus.Bus) {
	t.Helper()
	heard := make(chan core.Presence, 100)
	cancel, err := two.SubscribePresences("edge", func(p core.Presence) {
		select {
		case heard <- p:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	deadline := time.After(20 * time.Second)
	for seq := uint64(1); ; seq++ {
		// The first may be lost: the subscription is on its way.
		_ = one.PublishPresence(core.Presence{Node: "lb1", Group: "edge", Inst: "a", Seq: seq, At: time.Now(), Roles: core.AllRoles, Version: "x", StartedAt: time.Now()})
		select {
		case p := <-heard:
			if p.Node != "lb1" || p.Roles != core.AllRoles {
				t.Errorf("heard %+v", p)
			}
			return
		case <-deadline:
			t.Fatal("lb2 does not hear lb1")
		case <-time.After(100 * time.Millisecond):
		}
	}
}
