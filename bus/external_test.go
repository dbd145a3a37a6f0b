// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/bus/definitions"
	"github.com/steelyard-lb/steelyard/core"
)

func freePort(t testing.TB) int {
	t.Helper()
	return bustest.FreePort(t)
}

// startServer runs a real nats-server that has one user, lb. stop ends it and waits.
func startServer(t testing.TB, port int, password string) (stop func()) {
	t.Helper()
	return startServerWatched(t, port, password, nil)
}

// startServerWatched also shows each line of the server's log to watch.
func startServerWatched(t testing.TB, port int, password string, watch func(line string)) (stop func()) {
	t.Helper()
	_, stop = startProcess(t, port, password, watch)
	return stop
}

func startProcess(t testing.TB, port int, password string, watch func(line string)) (server *os.Process, stop func()) {
	t.Helper()
	s := bustest.StartServer(t, port, watch, "--user", "lb", "--pass", password)
	return s.Process, s.Stop
}

func external(t testing.TB, node string, port int) *bus.Bus {
	t.Helper()
	return bustest.StartWith(t, bus.Options{Node: node, Servers: []string{fmt.Sprintf("nats://127.0.0.1:%d", port)},
		Login: bus.Login{User: "lb", Password: "secret"}})
}

// outside is a node at an external server, which need not be there.
func outside(t testing.TB, node string, port int, login bus.Login) *bus.Bus {
	t.Helper()
	return bustest.StartWith(t, bus.Options{Node: node, Servers: []string{fmt.Sprintf("nats://127.0.0.1:%d", port)}, Login: login})
}

// stored are the definitions of group edge, as a node finds them there.
func stored(node string, port int, login bus.Login) *definitions.Store {
	return definitions.New(definitions.Config{Group: "edge", Node: node, Servers: []string{fmt.Sprintf("nats://127.0.0.1:%d", port)}, Login: login})
}

func TestExternalServer(t *testing.T) {
	port := freePort(t)
	startServer(t, port, "secret")
	one, two := external(t, "lb1", port), external(t, "lb2", port)
	eventually(t, "both are connected", func() bool { return one.Stats().Connected && two.Stats().Connected })

	here, there := collect(t, one), collect(t, two)
	if err := one.PublishSample(sample(1)); err != nil {
		t.Fatal(err)
	}
	next(t, here)
	if s := next(t, there); s.Node != "lb1" {
		t.Errorf("got %+v", s)
	}
	m := bustest.Expect(t, one, "event.>", func() {
		if err := two.PublishEvent(core.Event{Severity: core.Info, Topic: "x", At: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}, nil)
	if e := m.Body.(bus.EventBody); e.Node != "lb2" {
		t.Errorf("got %+v", e)
	}
	if s := one.Stats(); s.Received != 1 || s.Repeated != 0 {
		t.Errorf("stats %+v, want the own sample once", s)
	}
}

// TestExternalServerComesAndGoes: the bus starts without it, sees its own
// samples all the while, keeps nothing for it, and joins when it is there.
func TestExternalServerComesAndGoes(t *testing.T) {
	port := freePort(t)
	b := external(t, "lb1", port)
	got := collect(t, b)
	var seq uint64
	publish := func() error {
		seq++
		err := b.PublishSample(sample(seq))
		if s := next(t, got); s.Seq != seq {
			t.Fatalf("got sample %d, want %d", s.Seq, seq)
		}
		return err
	}
	if err := publish(); !errors.Is(err, bus.ErrAway) {
		t.Errorf("before the server is there: %v, want ErrAway", err)
	}
	stop := startServer(t, port, "secret")
	eventually(t, "connected", func() bool { return b.Stats().Connected })
	other := external(t, "lb2", port)
	eventually(t, "the other is connected", func() bool { return other.Stats().Connected })
	there := collect(t, other)
	if err := publish(); err != nil {
		t.Error(err)
	}
	if s := next(t, there); s.Seq != 2 {
		t.Errorf("the other got sample %d, want 2: nothing is kept for a server that is away", s.Seq)
	}

	stop()
	// Each of the connections notices for itself.
	eventually(t, "disconnected", func() bool { return errors.Is(publish(), bus.ErrAway) })
	away := seq
	startServer(t, port, "secret")
	eventually(t, "connected again", func() bool { return b.Stats().Connected && other.Stats().Connected })
	// The other's subscription is renewed some time after its connection.
	eventually(t, "the other hears again", func() bool {
		if err := publish(); err != nil {
			t.Error(err)
		}
		select {
		case s := <-there:
			if s.Seq <= away {
				t.Errorf("the other got sample %d, which was published while the server was away", s.Seq)
			}
			return true
		default:
			return false
		}
	})
	if s := b.Stats(); s.Unsent < 2 || s.Received != seq {
		t.Errorf("stats %+v, want at least 2 unsent, %d received", s, seq)
	}
}

// TestExternalServerRefusesForAWhile: a password that the cluster learns of
// later must not take a restart of the balancer.
func TestExternalServerRefusesForAWhile(t *testing.T) {
	port := freePort(t)
	var refused atomic.Int32
	stop := startServerWatched(t, port, "other", func(line string) {
		if strings.Contains(line, "authentication error") {
			refused.Add(1)
		}
	})
	var warned atomic.Int32
	b := bustest.StartWith(t, bus.Options{Node: "lb1", Servers: []string{fmt.Sprintf("nats://127.0.0.1:%d", port)},
		Login: bus.Login{User: "lb", Password: "secret"}, Log: slog.New(countWarnings{slog.DiscardHandler, &warned})})
	// Each of the two connections would give up after two refusals.
	eventually(t, "refused several times, and told", func() bool { return refused.Load() >= 6 && warned.Load() >= 2 })
	if n := warned.Load(); n != 2 {
		t.Errorf("%d warnings, want one for each connection", n)
	}
	stop()
	startServer(t, port, "secret")
	eventually(t, "connected", func() bool { return b.Stats().Connected })
}

// countWarnings counts what the bus warns of.
type countWarnings struct {
	slog.Handler
	n *atomic.Int32
}

func (c countWarnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (c countWarnings) WithAttrs([]slog.Attr) slog.Handler { return c }

func (c countWarnings) Handle(context.Context, slog.Record) error {
	c.n.Add(1)
	return nil
}

// TestStalledServer: a server that takes nothing, with full buffers before it,
// holds up no publisher for long; the engine is one.
func TestStalledServer(t *testing.T) {
	port := freePort(t)
	server, _ := startProcess(t, port, "secret", nil)
	b := external(t, "lb1", port)
	eventually(t, "connected", func() bool { return b.Stats().Connected })
	if err := server.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Signal(syscall.SIGCONT) }() // or it could not be ended
	big := core.Event{Severity: core.Info, Topic: "x", At: time.Now(), Message: strings.Repeat("x", 512<<10)}
	var worst time.Duration
	away := 0
	// Long enough for an attempt to join anew, which the server does not answer:
	// that is when nats.go keeps its lock longest.
	for deadline := time.Now().Add(4 * time.Second); time.Now().Before(deadline); {
		start := time.Now()
		if errors.Is(b.PublishEvent(big), bus.ErrAway) {
			away++
		}
		worst = max(worst, time.Since(start))
	}
	t.Logf("longest publish %s, %d dropped", worst, away)
	// nats.go would wait for its connection's time-out, 2 s.
	if worst > 1500*time.Millisecond || away == 0 {
		t.Errorf("the longest publish took %s, %d were dropped", worst, away)
	}
}
