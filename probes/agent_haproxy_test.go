// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }

// TestAgentBesideHAProxy says the same lines, one after the other, to a real HAProxy
// and to us, and expects the same state of the server after each. Nobody's memory of
// the manual is the reference here, least of all ours.
func TestAgentBesideHAProxy(t *testing.T) {
	agent := newFakeAgent(t, "up ready 100%\n")
	ha := startHAProxy(t, agent)
	target := agentTarget(agent.addr)
	target.Spec.Timeout = 5 * time.Second
	p := newProber(target)
	ours := serverState{health: "up", admin: core.AdminReady, weight: 100}
	for _, line := range []string{
		// Every example of the manual, and what people make of it.
		"up", "75%", "maxconn:30", "ready", "drain", "up", "ready", "maint", "ready", "down", "up", "fail", "up", "stopped", "up",
		"down #x", "75%", "drain", "ready", "up", "down#x", "stopped#x", "up down#x", "DOWN", "UP 100%", "stopped # gone fishing, back at 5", "up",
		"50%", "maint 0%", "ready up 100%", "garbage", "garbage 30%", "", "fail #a\tb", "up,ready,200%", "up 1000%", "up 100% 50%",
		"up down", "down up", "up 50.5%", "up 40%x", "up 60% 40%x", "up -5%", "up 99999999999999999999%", "up 100% maxconn:30",
		"maxconn:0 up", "maxconn:5x", "MAXCONN:7", "maxconn:", "maxconn:9 maxconn:x", "drain maint ready up 100%", "#down", "up #", "0%", "ready", "up 100%",
	} {
		said := line + "\n"
		agent.line.Store(&said)
		ours.hear(askWith(t, target, p))
		if theirs := ha.state(t); theirs != ours {
			t.Fatalf("%q: HAProxy has %+v, we %+v", line, theirs, ours)
		}
	}
	// Not a line without any end: HAProxy takes it now and then, one time in fourteen,
	// it seems by what its buffer held before.
	for _, broken := range []string{"down\x00\n", "\r\ndown\n", "up\r\ndown\n"} {
		agent.line.Store(&broken)
		ours.hear(askWith(t, target, p))
		if theirs := ha.state(t); theirs != ours {
			t.Errorf("%q: HAProxy has %+v, we %+v", broken, theirs, ours)
		}
	}
}

// A serverState is what an agent may change, in numbers that both sides have.
type serverState struct {
	health string // up or down; empty in maintenance, where HAProxy does not say
	admin  core.AdminState
	weight int // of a server with the configured weight 100, which HAProxy cuts at 256
	limit  string
}

// hear makes of a sample what the engine would.
func (s *serverState) hear(sample core.Sample) {
	if sample.Admin != "" {
		s.admin = sample.Admin
	}
	switch {
	case s.admin == core.AdminMaint:
		s.health = ""
	case sample.OK:
		s.health = "up"
	case sample.Code.Verdict():
		s.health = "down"
	}
	if m, ok := sample.Metric(core.MetricWeightRatio); ok {
		s.weight = min(256, int(m.Value*100+0.5))
	}
	if m, ok := sample.Metric(core.MetricMaxConnections); ok {
		s.limit = itoa(uint64(m.Value))
		if m.Value == 0 {
			s.limit = "" // as HAProxy shows that there is none
		}
	}
}

type haproxy struct {
	socket string
	agent  *fakeAgent
}

// startHAProxy starts Debian's with one server, whose agent is the given one.
func startHAProxy(t *testing.T, agent *fakeAgent) haproxy {
	t.Helper()
	binary, err := exec.LookPath("haproxy")
	need(t, err == nil, "haproxy")
	dir := t.TempDir()
	ha := haproxy{socket: filepath.Join(dir, "s"), agent: agent}
	config := fmt.Sprintf(`
global
  stats socket %s mode 600 level admin
defaults
  mode tcp
  timeout connect 5s
  timeout client 5s
  timeout server 5s
  timeout check 5s
backend be
  server s1 %s weight 100 agent-check agent-port %d agent-inter 20ms
`, ha.socket, probestest.Mute(t), agent.addr.Port())
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(binary, "-db", "-f", file)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("haproxy: %s", said.String())
		}
	})
	ha.settle(t)
	return ha
}

// settle waits until HAProxy has certainly acted upon the agent's line of now. The
// first of three connections may have been served the line before; the third is
// opened only after what the second said was acted upon, unless HAProxy gave it up:
// hence the long "timeout check".
func (h haproxy) settle(t *testing.T) {
	t.Helper()
	want := h.agent.served.Load() + 3
	for deadline := time.Now().Add(20 * time.Second); h.agent.served.Load() < want; {
		if time.Now().After(deadline) {
			t.Fatal("haproxy does not ask its agent")
		}
		time.Sleep(time.Millisecond)
	}
}

// state is the server's, as HAProxy shows it.
func (h haproxy) state(t *testing.T) serverState {
	t.Helper()
	h.settle(t)
	servers := table(h.ask(t, "show servers state be"), 1, " ") // the first line is the version
	stats := table(h.ask(t, "show stat be 4 -1"), 0, ",")
	s := serverState{health: "down", admin: core.AdminReady, limit: stats["slim"]}
	if servers["srv_op_state"] == "2" { // SRV_ST_RUNNING
		s.health = "up"
	}
	switch servers["srv_admin_state"] {
	case "1": // SRV_ADMF_FMAINT
		s.admin, s.health = core.AdminMaint, ""
	case "8": // SRV_ADMF_FDRAIN
		s.admin = core.AdminDrain
	}
	s.weight, _ = strconv.Atoi(servers["srv_uweight"])
	return s
}

func (h haproxy) ask(t *testing.T, command string) string {
	t.Helper()
	c, err := net.Dial("unix", h.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // it has answered
	_, _ = c.Write([]byte(command + "\n"))
	out, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// table reads a head line and the line below it.
func table(text string, skip int, between string) map[string]string {
	lines := strings.Split(text, "\n")
	if len(lines) < skip+2 {
		return nil
	}
	head := strings.Split(strings.TrimPrefix(lines[skip], "# "), between)
	row := strings.Split(lines[skip+1], between)
	fields := make(map[string]string)
	for i := range min(len(head), len(row)) {
		fields[head[i]] = row[i]
	}
	return fields
}
