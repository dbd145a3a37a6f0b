// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// These tests run the plugins of Debian's monitoring-plugins, and a check
// script as keepalived's users write them.

// plugins is where Debian's are.
const plugins = "/usr/lib/nagios/plugins/"

func needPlugins(t *testing.T) {
	t.Helper()
	_, err := os.Stat(plugins + "check_http")
	need(t, err == nil, "monitoring-plugins")
}

func plugin(addr netip.AddrPort, command ...string) Target {
	target := execTarget(command...)
	target.Addr = addr
	return target
}

func TestPluginConventions(t *testing.T) {
	needPlugins(t)
	for state, want := range []struct {
		ok   bool
		code core.Code
	}{{true, core.ProcOK}, {true, core.ProcWarn}, {false, core.ProcFailed}, {false, core.Internal}} {
		wantCode(t, ask(t, execTarget(plugins+"check_dummy", fmt.Sprint(state), "it is so")), want.ok, want.code, "it is so")
	}
}

func TestPluginHTTP(t *testing.T) {
	needPlugins(t)
	n := startNginx(t, map[string]string{}, []string{"plain"}, `
events {}
http {
	access_log off; client_body_temp_path DIR/t1; proxy_temp_path DIR/t2; fastcgi_temp_path DIR/t3; uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
	server { listen {plain}; location = /health { return 200 "all is well\n"; } location = /down { return 503; } }
}`)
	at := n.ports["plain"]
	s := ask(t, plugin(at, plugins+"check_http", "-I", "{address}", "-p", "{port}", "-u", "/health", "-s", "all is well"))
	wantCode(t, s, true, core.ProcOK, "HTTP OK: HTTP/1.1 200 OK")
	wantMetrics(t, s, "time", "size")
	if m, _ := s.Metric("time"); m.Value <= 0 || m.Value > 10 || m.Unit != "seconds" {
		t.Errorf("got %+v, want some seconds", m)
	}
	if m, _ := s.Metric("size"); m.Value < 100 || m.Value > 1000 || m.Unit != "bytes" {
		t.Errorf("got %+v, want some hundred bytes", m)
	}
	wantCode(t, ask(t, plugin(at, plugins+"check_http", "-I", "{address}", "-p", "{port}", "-u", "/down")), false, core.ProcFailed, "exit code 2: HTTP CRITICAL: HTTP/1.1 503")
	slow := plugin(at, plugins+"check_http", "-I", "{address}", "-p", "{port}", "-u", "/health", "-w", "0.000001")
	wantCode(t, ask(t, slow), true, core.ProcWarn, "HTTP WARNING")
	slow.Spec.Exec.WarningIsBad = true
	wantCode(t, ask(t, slow), false, core.ProcWarn, "HTTP WARNING")

	// By its own name, and scaled.
	named := plugin(at, plugins+"check_tcp", "-H", "{address}", "-p", "{port}")
	named.Spec.Metrics = []core.MetricSpec{{Name: "connect_ms", From: "time", Scale: 1000, Unit: "milliseconds"}}
	s = ask(t, named)
	wantCode(t, s, true, core.ProcOK, "TCP OK")
	wantMetrics(t, s, "connect_ms")
	named.Addr = freePort(t)
	wantCode(t, ask(t, named), false, core.ProcFailed, "Connection refused")
}

func TestPluginMachine(t *testing.T) {
	needPlugins(t)
	s := ask(t, execTarget(plugins+"check_load", "-w", "999,999,999", "-c", "9999,9999,9999"))
	wantCode(t, s, true, core.ProcOK, "load average")
	wantMetrics(t, s, "load1", "load5", "load15")

	disk := execTarget(plugins+"check_disk", "-w", "0%", "-c", "0%", "-p", "/")
	disk.Spec.Metrics = []core.MetricSpec{{Name: "root_used", From: "/"}}
	s = ask(t, disk)
	wantCode(t, s, true, core.ProcOK, "DISK OK")
	var fs unix.Statfs_t
	if err := unix.Statfs("/", &fs); err != nil {
		t.Fatal(err)
	}
	used := float64(fs.Blocks-fs.Bfree) * float64(fs.Bsize)
	// The plugin prints whole units, and the disk is in use. A unit of 1,000 would be
	// off by more from a gigabyte on.
	if m, _ := s.Metric("root_used"); m.Unit != "bytes" || m.Value < used*0.95 || m.Value > used*1.05 {
		t.Errorf("got %+v, want about %.4g bytes", m, used)
	}
}

// TestPluginPing: without privileges ping is left with the kernel's ping sockets, which
// have to be allowed: that is the price of no_new_privs.
func TestPluginPing(t *testing.T) {
	needPlugins(t)
	need(t, os.Getuid() == 0, "root")
	ns := fmt.Sprintf("sy-ping-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		need(t, false, fmt.Sprintf("network namespaces: %s", out))
	}
	defer exec.Command("ip", "netns", "del", ns).Run() //nolint:errcheck // the namespace is this test's own
	inside := func(command ...string) {
		t.Helper()
		if out, err := exec.Command("ip", append([]string{"netns", "exec", ns}, command...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	inside("ip", "link", "set", "lo", "up")
	target := execTarget(plugins+"check_ping", "-4", "-H", "{address}", "-w", "1000,50%", "-c", "2000,90%", "-p", "1")
	target.Spec.Way.Netns = ns
	inside("sysctl", "-q", "-w", "net.ipv4.ping_group_range=1 0")
	if s := ask(t, target); s.OK {
		t.Errorf("got %s %q: a command must not get the capability of ping's file", s.Code, s.Detail)
	}
	inside("sysctl", "-q", "-w", "net.ipv4.ping_group_range=0 65535")
	s := ask(t, target)
	wantCode(t, s, true, core.ProcOK, "PING OK")
	wantMetrics(t, s, "rta", "pl")
	if m, _ := s.Metric("rta"); m.Unit != "seconds" || m.Value <= 0 || m.Value > 1 {
		t.Errorf("got %+v, want less than a second", m)
	}
	if m, _ := s.Metric("pl"); m.Unit != "ratio" || m.Value != 0 {
		t.Errorf("got %+v, want a ratio of 0", m)
	}
}

// publicFile writes a program that every user may run.
func publicFile(t *testing.T, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMiscCheck is a check of keepalived with misc_dynamic: the longer the queue, the
// smaller the weight.
func TestMiscCheck(t *testing.T) {
	check := publicFile(t, "check_queue", `#!/bin/sh
# usage: check_queue HOST PORT QUEUE
[ "$1:$2" = "127.0.0.1:8080" ] || exit 1
[ "$3" -ge 100 ] && { echo "queue full"; exit 1; }
echo "queue $3"
exit $((2 + 100 - $3))
`)
	for queue, want := range map[string]struct {
		ok     bool
		detail string
		weight float64
	}{"0": {true, "weight 100: queue 0", 100}, "75": {true, "weight 25: queue 75", 25}, "100": {false, "queue full", 0}} {
		target := execTarget(check, "{address}", "{port}", queue)
		target.Spec.Exec.Convention, target.Spec.Exec.DynamicWeight = core.Keepalived, true
		s := ask(t, target)
		code := core.ProcOK
		if !want.ok {
			code = core.ProcFailed
		}
		wantCode(t, s, want.ok, code, want.detail)
		if m, ok := s.Metric(core.MetricWeight); ok != want.ok || m.Value != want.weight {
			t.Errorf("queue %s: got %+v, want weight %v", queue, m, want.weight)
		}
		if strings.Contains(s.Detail, "\n") {
			t.Errorf("detail %q", s.Detail)
		}
	}
}
