// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// echoes makes the backends serve port 81 too: they say their name and then
// whatever they hear, until the client ends the connection. Their listeners are
// returned; connections outlive them.
func (r *rig) echoes() (listeners []net.Listener) {
	r.t.Helper()
	for _, n := range r.lab.Backends {
		l, err := n.Listen("tcp", net.JoinHostPort(n.Addr4.String(), "81"))
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { _ = l.Close() })
		listeners = append(listeners, l)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					_, _ = io.WriteString(c, n.Name)
					_, _ = io.Copy(c, c)
				}()
			}
		}()
	}
	return listeners
}

// hold opens n connections to port 81 and sorts them by who answers.
func (r *rig) hold(n int) map[string][]net.Conn {
	r.t.Helper()
	out := map[string][]net.Conn{}
	for range n {
		c, err := r.lab.Client.DialContext(r.t.Context(), "tcp", r.vip4(81))
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { _ = c.Close() })
		name := make([]byte, 2)
		if _, err := io.ReadFull(c, name); err != nil {
			r.t.Fatal(err)
		}
		out[string(name)] = append(out[string(name)], c)
	}
	return out
}

// echo says something on a connection and waits for it to come back.
func echo(c net.Conn) error { return echoWithin(c, 10*time.Second) }

func echoWithin(c net.Conn, patience time.Duration) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "still there?"); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, len("still there?")))
	return err
}

func (r *rig) drainConfig() {
	var b strings.Builder
	for i, n := range r.lab.Backends {
		fmt.Fprintf(&b, "b%d: {address: '%s', port: 81}, ", i+1, n.Addr4)
	}
	r.write(fmt.Sprintf("services:\n  web: {vip: %s, port: 81, policy: weighted, every: 200ms, probes: [alive], backends: {%s}}\n", r.lab.VIP4, b.String()))
}

// A drained backend gets no new connection from the moment that the command is
// back, its open ones go on, and the wait ends with the last of them. All that
// survives a kill of the daemon.
func TestDrainUnderTraffic(t *testing.T) {
	r := newRig(t, 2)
	r.echoes()
	r.drainConfig()
	r.start()
	r.untilShares("web", 50, 50)
	held := r.hold(40)
	if len(held["b1"]) == 0 || len(held["b2"]) == 0 {
		t.Fatalf("40 connections, all to one backend: %v", held)
	}
	stop := make(chan struct{})
	asked := make(chan map[string]int, 1)
	out, code := r.steelyard("backend", "drain", "web/b1", "--for", "30m", "--reason", "kernel update", "--author", "alice")
	if code != 0 || out != "web/b1: drain, alice, 30 min left: kernel update\n" {
		t.Fatalf("drain: exit code %d:\n%s", code, out)
	}
	go func() { asked <- r.count(stop) }()

	type ended struct {
		code int
		at   time.Time
	}
	var said labtest.Log
	wait := make(chan ended, 1)
	go func() {
		code := execute(t.Context(), []string{"backend", "drain", "web/b1", "--wait", "--author", "alice", "--socket", filepath.Join(r.dir, "control.sock")}, &said, &said)
		wait <- ended{code, time.Now()}
	}()
	r.until("show says how many are left", func() error {
		out, _ := r.steelyard("show")
		if want := fmt.Sprintf("drain, alice; %s left", plural(len(held["b1"]), "connection")); !strings.Contains(out, want) {
			return fmt.Errorf("want %q:\n%s", want, out)
		}
		return nil
	})
	r.until("the wait says it, too", func() error {
		if want := plural(len(held["b1"]), "connection") + " left"; !strings.Contains(said.String(), want) {
			return fmt.Errorf("want %q:\n%s", want, said.String())
		}
		return nil
	})
	for _, c := range held["b1"] {
		if err := echo(c); err != nil {
			t.Errorf("an open connection of the drained backend: %v", err)
		}
	}
	select {
	case e := <-wait:
		t.Fatalf("the wait ended while connections are open: %d\n%s", e.code, said.String())
	default:
	}
	for _, c := range held["b1"] {
		_ = c.Close()
	}
	closed := time.Now()
	e := <-wait
	if e.code != 0 || !strings.Contains(said.String(), "no connection is open") {
		t.Errorf("the wait: exit code %d:\n%s", e.code, said.String())
	}
	t.Logf("the wait ended %s after the last connection:\n%s", e.at.Sub(closed).Round(time.Millisecond), said.String())
	close(stop)
	if by := <-asked; by["b1"] > 0 || by["failed"] > 0 || by["b2"] == 0 {
		t.Errorf("new connections while b1 drains: %v", by)
	}

	r.kill()
	r.start()
	r.untilShares("web", 0, 100)
	s, err := r.service("web")
	if err != nil || s.Backends[0].State != core.StateDrain || s.Backends[0].Override.Author != "alice" {
		t.Errorf("after a kill: %+v, %v", s.Backends[0], err)
	}
	r.until("b1 is probed while it drains", func() error {
		if s, err = r.service("web"); err != nil || s.Backends[0].Health != core.Up {
			return fmt.Errorf("it is %s, %w", s.Backends[0].Health, err)
		}
		return nil
	})
	if out, code := r.steelyard("backend", "ready", "web/b1"); code != 0 || !strings.Contains(out, "ready; ended: drain by alice") {
		t.Errorf("ready: exit code %d:\n%s", code, out)
	}
	r.untilShares("web", 50, 50)
}

// count makes connections one after another until stop is closed, and says who
// answered.
func (r *rig) count(stop <-chan struct{}) map[string]int {
	by := map[string]int{}
	for {
		select {
		case <-stop:
			return by
		default:
		}
		c, err := r.lab.Client.DialContext(r.t.Context(), "tcp", r.vip4(81))
		if err != nil {
			by["failed"]++
			continue
		}
		name := make([]byte, 2)
		if _, err := io.ReadFull(c, name); err != nil {
			by["failed"]++
		} else {
			by[string(name)]++
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

// A file of overrides that is of no use keeps nobody from starting, and a reload
// that is refused is an event.
func TestFaultsAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	file := filepath.Join(r.dir, "state", "overrides.json")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(`{"version": 1, "overr`), 0o600)); err != nil {
		t.Fatal(err)
	}
	r.write(r.web(1))
	r.start()
	r.untilShares("web", 100)
	if log := r.log.String(); !strings.Contains(log, "overrides of the run before are lost") || !strings.Contains(log, "overrides.json.bad") {
		t.Errorf("the log does not tell of the bad file:\n%s", log)
	}
	told := make(chan string, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		_ = r.client.Monitor(ctx, "event.error.reload", func(l admin.Line) error {
			told <- string(l.Data)
			return errEnough
		})
	}()
	r.write("services: {web: {prot: 80}}\n")
	var text string
	r.until("the event of a refused reload", func() error { // until the monitor follows
		if _, err := r.client.Reload(t.Context()); err == nil {
			t.Fatal("the reload was taken")
		}
		select {
		case text = <-told:
			return nil
		default:
			return errors.New("no event")
		}
	})
	if !strings.Contains(text, "reload refused") || !strings.Contains(text, "prot") {
		t.Errorf("event: %s", text)
	}
}

// At the deadline the wait ends with a code of its own; with --cut the
// connections that are left end.
func TestDrainDeadline(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.echoes()
	r.drainConfig()
	r.start()
	r.untilShares("web", 50, 50)
	held := r.hold(20)
	out, code := r.steelyard("backend", "drain", "web/b1", "--wait", "--deadline", "3s", "-o", "json")
	var res drainResult
	if err := json.Unmarshal([]byte(out), &res); err != nil || code != exitDeadline || int(res.Remaining) != len(held["b1"]) {
		t.Errorf("deadline: exit code %d, %v, want %d connections left:\n%s", code, err, len(held["b1"]), out)
	}
	out, code = r.steelyard("backend", "drain", "web/b1", "--wait", "--deadline", "3s", "--cut")
	if code != 0 || !strings.Contains(out, fmt.Sprintf("%d were cut", len(held["b1"]))) {
		t.Errorf("cut: exit code %d:\n%s", code, out)
	}
	t.Logf("%s", out)
	for who, conns := range held {
		for _, c := range conns {
			if err := echo(c); (err == nil) != (who == "b2") {
				t.Errorf("a connection of %s after b1 was cut: %v", who, err)
			}
		}
	}
	for range 20 {
		for name := range r.hold(1) {
			if name != "b2" {
				t.Errorf("a new connection reaches %s", name)
			}
		}
	}
}

// Who drains the last backend is told what clients meet now, and who weighs a dead
// one that nobody will notice; both is done.
func TestCommandsTellWhatTheyDo(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.write(r.web(1, 1))
	r.start()
	r.untilShares("web", 50, 50)
	r.worlds[0].down()
	r.untilShares("web", 0, 100)
	out, code := r.steelyard("backend", "weight", "web/b1", "3", "--author", "alice")
	if code != exitNotYet || !strings.Contains(out, "web/b1: it is set, but not in force yet: down: alive L4CON") {
		t.Errorf("weight of a dead backend: exit code %d:\n%s", code, out)
	}
	out, code = r.steelyard("backend", "drain", "web/b2", "--author", "alice")
	if code != 0 || !strings.Contains(out, "warning: no backend of web takes new connections any more: they are refused (on_empty: reject)") {
		t.Errorf("drain of the last backend: exit code %d:\n%s", code, out)
	}
	if who, err := r.ask("tcp", r.vip4(80)); err == nil {
		t.Errorf("%s answers", who)
	}
	r.worlds[0].up(t)
	r.untilShares("web", 100, 0)
	if out, code := r.steelyard("backend", "ready", "web/b2", "--author", "alice"); code != 0 {
		t.Errorf("ready: exit code %d:\n%s", code, out)
	}
	r.wantShares("web", 75, 25)
}
