// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
)

// A busNode is a node of which only the bus is real. It speaks as soon as
// somebody listens.
type busNode struct {
	admin.NodeInterface
	bus   *bus.Bus
	speak func()
}

func (n busNode) Subscribe(pattern string, fn func(string, []byte)) (func(), error) {
	cancel, err := n.bus.Subscribe(pattern, fn)
	if err == nil {
		n.speak()
	}
	return cancel, err
}

// monitorSocket serves a bus on a control socket and waits until it is there.
func monitorSocket(t *testing.T, speak func(*bus.Bus)) string {
	t.Helper()
	b := bustest.Start(t)
	path := filepath.Join(t.TempDir(), "control.sock")
	s := &admin.Server{Path: path, Version: "test", Node: busNode{bus: b, speak: func() { speak(b) }}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1) // one result
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	c := admin.NewClient(path)
	for tick, end := time.NewTicker(time.Millisecond), time.Now().Add(10*time.Second); ; <-tick.C {
		if _, err := c.Version(t.Context()); err == nil {
			return path
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func runMonitor(t *testing.T, socket string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	g := newGlobals(&out, &out)
	cmd := newMonitorCommand(g)
	g.addFlags(cmd.PersistentFlags()) // as the root command does
	g.Socket = socket
	cmd.SetArgs(append([]string{}, args...)) // nil would be those of the tests
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := cmd.ExecuteContext(ctx)
	if ctx.Err() != nil {
		t.Fatalf("no end within 10 s; output %q", out.String())
	}
	return out.String(), err
}

func TestMonitorCommand(t *testing.T) {
	socket := monitorSocket(t, func(b *bus.Bus) {
		at := time.Now()
		_ = b.PublishCommit(core.Commit{Generation: 1, At: at, Changed: 2, Took: time.Millisecond})
		_ = b.PublishEvent(core.Event{Severity: core.Info, Topic: "start", At: at, Message: "hello"})
		_ = b.PublishEvent(core.Event{Severity: core.Error, Topic: "policy", At: at, Service: "web", Message: "trap"})
	})
	out, err := runMonitor(t, socket, "event.>", "--count", "2")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err != nil || len(lines) != 2 || !strings.HasSuffix(lines[0], "info   start: hello") || !strings.HasSuffix(lines[1], "error  policy: trap") {
		t.Errorf("text: %v\n%s", err, out)
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("colour in what is no terminal: %q", out)
	}
	out, err = runMonitor(t, socket, "-o", "json", "--count=1")
	var l admin.Line
	if uerr := json.Unmarshal([]byte(out), &l); err != nil || uerr != nil || l.Subject != "steelyard.v1.commit.lb1" {
		t.Errorf("json: %v, %v\n%s", err, uerr, out)
	}
}

// A node says again and again that it is there: what it said before is not news.
func TestMonitorShowsPresencesOnce(t *testing.T) {
	socket := monitorSocket(t, func(b *bus.Bus) {
		for _, epoch := range []uint64{1, 1, 1, 2, 2} {
			_ = b.PublishPresence(core.Presence{Group: "edge", Roles: core.AllRoles, Epoch: epoch})
		}
		_ = b.PublishEvent(core.Event{Severity: core.Info, Topic: "start", At: time.Now(), Message: "hello"})
	})
	for pattern, want := range map[string]int{">": 2, "node.>": 3} {
		out, err := runMonitor(t, socket, pattern, "--count", "3")
		if got := strings.Count(out, "edge: probe,schedule,apply"); err != nil || got != want {
			t.Errorf("%s: %d presences, want %d: %v\n%s", pattern, got, want, err, out)
		}
	}
}

func TestMonitorCommandRefuses(t *testing.T) {
	socket := monitorSocket(t, func(*bus.Bus) {})
	if _, err := runMonitor(t, socket, "probes.web.>"); err == nil || !strings.Contains(err.Error(), `unknown class "probes"`) || exitCode(err) != exitUsage {
		t.Errorf("pattern: %v", err)
	}
	if _, err := runMonitor(t, socket, "-o", "yaml"); err == nil || !strings.Contains(err.Error(), "want text or table or json") || exitCode(err) != exitUsage {
		t.Errorf("output: %v", err)
	}
	if _, err := runMonitor(t, filepath.Join(t.TempDir(), "none")); !errors.Is(err, admin.ErrUnreachable) || exitCode(err) != exitUnreachable {
		t.Errorf("no daemon: %v, want ErrUnreachable", err)
	}
}
