// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// waitOn waits for a drained backend in a bubble of virtual time; look makes the
// view of its nth look at it.
func waitOn(t *testing.T, w waitFlags, terminal bool, look func(n int, c *fixedControl, b *core.BackendView)) (out string, err error) {
	t.Helper()
	bubbletest.Run(t, func(t *testing.T) {
		view := commandView()
		c := &fixedControl{view: view, cut: 3}
		c.onService = func(n int, s *core.ServiceView) {
			b := s.Backends[0] // "drained"
			b.ConnectionsAt = time.Now()
			c.err = nil
			look(n, c, &b)
			s.Backends = []core.BackendView{b}
		}
		var buf bytes.Buffer
		g := newGlobals(&buf, &buf)
		g.dial = func(string) control { return c }
		d := &drainWait{g: g, id: core.BackendID{Service: "web", Backend: "drained"}, flags: w, since: time.Now(), began: time.Now(), say: &buf, terminal: terminal}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		err = d.run(ctx)
		out = buf.String()
	})
	return out, err
}

func TestDrainWait(t *testing.T) {
	w := waitFlags{wait: true}
	falling := func(n int, _ *fixedControl, b *core.BackendView) { b.Connections = ptr(uint64(max(0, 40-2*n))) }
	out, err := waitOn(t, w, false, falling)
	want := `web/drained  38 connections left
web/drained  18 of 38 connections left, 4.0/s close, about 4.5 s to go
web/drained  no connection is open, after 9.5 s
`
	if d := cmp.Diff(want, out); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	out, err = waitOn(t, w, true, falling)
	if n := strings.Count(out, clearLine); err != nil || n < 10 || strings.Count(out, "\n") != 1 {
		t.Errorf("on a terminal: %v, %d updates:\n%q", err, n, out)
	}
}

func TestDrainWaitEnds(t *testing.T) {
	stuck := func(_ int, _ *fixedControl, b *core.BackendView) { b.Connections = ptr(uint64(7)) }
	for _, tt := range []struct {
		name  string
		flags waitFlags
		look  func(n int, c *fixedControl, b *core.BackendView)
		code  int
		want  string // in the error, or in the output
	}{
		{"deadline", waitFlags{wait: true, deadline: time.Minute}, stuck, exitDeadline, "web/drained has 7 connections open after 60 s"},
		{"cut", waitFlags{wait: true, deadline: time.Minute, cut: true}, func(n int, _ *fixedControl, b *core.BackendView) {
			b.Connections = ptr(uint64(7))
			if n > 122 { // the count after the cut
				b.Connections = ptr(uint64(0))
			}
		}, exitOK, "3 were cut at the deadline"},
		{"cut in vain", waitFlags{wait: true, deadline: time.Minute, cut: true}, stuck, exitDeadline, "has 7 connections open after 70 s"},
		{"ready meanwhile", waitFlags{wait: true}, func(n int, _ *fixedControl, b *core.BackendView) {
			if b.Connections = ptr(uint64(7)); n > 5 {
				b.Override = nil
			}
		}, exitFailure, "the drain of web/drained was ended while 7 connections were open"},
		{"a count from before the drain", waitFlags{wait: true}, func(n int, _ *fixedControl, b *core.BackendView) {
			b.Connections = ptr(uint64(0))
			if n < 3 {
				b.Connections, b.ConnectionsAt = ptr(uint64(0)), time.Now().Add(-time.Hour)
			}
		}, exitOK, "no connection is open, after 1.0 s"},
		{"nobody counts", waitFlags{wait: true}, func(_ int, _ *fixedControl, b *core.BackendView) { b.Connections = nil }, exitFailure, "nobody counts the open connections"},
		{"it left", waitFlags{wait: true}, func(_ int, _ *fixedControl, b *core.BackendView) { b.Name = "other" }, exitFailure, "not in the configuration any more"},
		{"a restart of the daemon", waitFlags{wait: true}, func(n int, c *fixedControl, b *core.BackendView) {
			b.Connections = ptr(uint64(0))
			if n < 20 {
				c.err = admin.ErrUnreachable
			}
		}, exitOK, "no connection is open"},
		{"the end of the daemon", waitFlags{wait: true}, func(_ int, c *fixedControl, b *core.BackendView) { c.err = admin.ErrUnreachable }, exitFailure, "not running"},
		{"interrupted", waitFlags{wait: true}, stuck, exitFailure, "interrupted: web/drained still drains, with 7 connections open"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := waitOn(t, tt.flags, false, tt.look)
			text := out
			if err != nil {
				text = err.Error()
			}
			if exitCode(err) != tt.code || !strings.Contains(text, tt.want) {
				t.Errorf("exit code %d, %v; want %d and %q:\n%s", exitCode(err), err, tt.code, tt.want, out)
			}
		})
	}
}

// A wait for the connections of all nodes does not end by those of one, when another node
// has taken the lead; it goes on where the lead comes back. Who never led waits for its own.
func TestDrainWaitWithoutTheLead(t *testing.T) {
	for _, tt := range []struct {
		name     string
		from, to int // of the looks at which lb2 leads
		code     int
		want     string
	}{
		{"it moves", 4, 1000, exitFailure, "lb2 leads web now: on other nodes web/drained gets connections again"},
		{"it comes back", 4, 30, exitOK, "no connection is open, after 14 s"},
		{"it never was here", 0, 1000, exitOK, "no connection is open, after 1.0 s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubbletest.Run(t, func(t *testing.T) {
				c := &fixedControl{view: commandView()}
				c.onService = func(n int, s *core.ServiceView) {
					b := s.Backends[0] // "drained"
					b.Connections, b.ConnectionsAt = ptr(uint64(7)), time.Now()
					if s.Leader = nil; n >= tt.from && n < tt.to {
						s.Leader = &core.LeaderView{Node: "lb2"}
					}
					if n >= 3 && s.Leader != nil || n >= 30 {
						b.Connections = ptr(uint64(0))
					}
					s.Backends = []core.BackendView{b}
				}
				var buf bytes.Buffer
				g := newGlobals(&buf, &buf)
				g.dial = func(string) control { return c }
				d := &drainWait{g: g, id: core.BackendID{Service: "web", Backend: "drained"}, flags: waitFlags{wait: true}, since: time.Now(), began: time.Now(), say: &buf}
				err := d.run(t.Context())
				text := buf.String()
				if err != nil {
					text = err.Error()
				}
				if exitCode(err) != tt.code || !strings.Contains(text, tt.want) {
					t.Errorf("exit code %d, %v; want %d and %q:\n%s", exitCode(err), err, tt.code, tt.want, buf.String())
				}
			})
		})
	}
}

// In a group the other nodes follow a drain a little later, and tell of what they have left.
func TestDrainWaitInAGroup(t *testing.T) {
	for _, tt := range []struct {
		group *core.ClusterView
		want  string
	}{{nil, "after 0 s"}, {&core.ClusterView{Group: "edge"}, "after 5.0 s"}} {
		bubbletest.Run(t, func(t *testing.T) {
			view := commandView()
			view.Cluster = tt.group
			began := time.Now()
			drain := &core.Override{Kind: core.OverrideDrain, Author: "alice"}
			c := &fixedControl{view: view, result: core.OverrideResult{Backend: "web/drained", Override: drain, Outcome: core.Applied, At: began}}
			c.onService = func(_ int, s *core.ServiceView) {
				b := s.Backends[0] // "drained"
				b.Connections, b.ConnectionsAt, b.Override = ptr(uint64(0)), time.Now(), drain
				if at := time.Since(began); tt.group != nil && at > 2*time.Second && at < 5*time.Second {
					*b.Connections = 17 // of another node
				}
				s.Backends = []core.BackendView{b}
			}
			var buf bytes.Buffer
			g := newGlobals(&buf, &buf)
			g.dial = func(string) control { return c }
			err := g.drain(t.Context(), "web/drained", core.OverrideRequest{Kind: core.OverrideDrain, Author: "alice"}, waitFlags{wait: true})
			if err != nil || !strings.Contains(buf.String(), "no connection is open, "+tt.want) {
				t.Errorf("%v, want %q:\n%s", err, tt.want, buf.String())
			}
		})
	}
}
