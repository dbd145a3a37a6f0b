// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

// TestInternalUserIsOnlyInside: not even the right password opens the TCP door.
func TestInternalUserIsOnlyInside(t *testing.T) {
	b, err := Start(t.Context(), Options{Node: "lb1", Listen: "127.0.0.1:0", Users: []User{{Name: "a", Password: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	url := "nats://" + b.ListenAddr().String()
	if nc, err := nats.Connect(url, nats.UserInfo(internalUser, b.server.secret)); err == nil {
		nc.Close()
		t.Error("the internal user came in over TCP")
	}
	if nc, err := nats.Connect(url, nats.UserInfo("a", "b")); err != nil {
		t.Error(err)
	} else {
		nc.Close()
	}
}

// TestServerLeavesTheProcessAlone: with its own signal handlers the server
// would end the daemon with os.Exit, and its rules would be in nobody's care.
func TestServerLeavesTheProcessAlone(t *testing.T) {
	opts, err := serverOptions(Options{Node: "lb1", Log: slog.New(slog.DiscardHandler)}, "secret")
	if err != nil {
		t.Fatal(err)
	}
	if !opts.NoSigs || !opts.DontListen || opts.JetStream || opts.HTTPPort != 0 {
		t.Errorf("NoSigs %t, DontListen %t, JetStream %t, HTTPPort %d, want true, true, false, 0",
			opts.NoSigs, opts.DontListen, opts.JetStream, opts.HTTPPort)
	}
	log := &serverLog{log: slog.New(slog.DiscardHandler), dead: make(chan struct{})}
	log.Fatalf("first %d", 1)
	log.Fatalf("second")
	<-log.dead
	if log.err == nil || log.err.Error() != "first 1" {
		t.Errorf("got %v, want the first fatal error", log.err)
	}
}

// TestStartIsQuiet: a warning that everybody gets at each start teaches to
// overlook warnings; one about the operator's own passwords stays.
func TestStartIsQuiet(t *testing.T) {
	for _, tt := range []struct {
		name  string
		users []User
		warn  bool
	}{
		{"nobody but us", nil, false},
		{"a plain password", []User{{Name: "a", Password: "b"}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			o := Options{Node: "lb1", Users: tt.users, Log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))}
			if tt.users != nil {
				o.Listen = "127.0.0.1:0"
			}
			b, err := Start(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			b.Close()
			if warned := strings.Contains(out.String(), "Plaintext"); warned != tt.warn || !tt.warn && out.Len() > 0 {
				t.Errorf("the start said:\n%s", &out)
			}
		})
	}
}

// TestSlowReaderIsCut: a client that does not read holds up no other, and is cut off.
func TestSlowReaderIsCut(t *testing.T) {
	t.Parallel() // the write deadline passes meanwhile
	b, err := Start(t.Context(), Options{Node: "lb1", Listen: "127.0.0.1:0", Users: []User{{Name: "a", Password: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	slow, err := net.Dial("tcp", b.ListenAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := slow.Write([]byte("CONNECT {\"user\":\"a\",\"pass\":\"b\"}\r\nSUB steelyard.v1.event.> 1\r\n")); err != nil {
		t.Fatal(err)
	}
	quick, err := nats.Connect("nats://"+b.ListenAddr().String(), nats.UserInfo("a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	defer quick.Close()
	got, err := quick.SubscribeSync("steelyard.v1.event.>")
	if err != nil {
		t.Fatal(err)
	}
	wait := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not within 30s: %s", what)
			}
		}
	}
	wait("both subscriptions", func() bool { return b.server.srv.NumSubscriptions() == 2 })
	text := strings.Repeat("x", 256<<10)
	for i := range 256 {
		topic := fmt.Sprint(i)
		if err := b.PublishEvent(core.Event{Severity: core.Info, Topic: topic, At: time.Now(), Message: text}); err != nil {
			t.Fatal(err)
		}
		if m, err := got.NextMsg(10 * time.Second); err != nil || m.Subject != EventSubject(core.Info, topic) {
			t.Fatalf("event %d: got %v, %v", i, m, err)
		}
	}
	wait("the slow one is cut off", func() bool { return b.server.srv.NumSubscriptions() == 1 })
	if n := b.server.srv.NumSlowConsumers(); n == 0 {
		t.Error("the server counts no slow one")
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		bus, err := Start(b.Context(), Options{Node: "lb1", StateDir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		bus.Close()
	}
}
