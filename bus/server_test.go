// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
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
	opts, err := serverOptions(Options{Node: "lb1"}, []byte("secret"))
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

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		bus, err := Start(b.Context(), Options{Node: "lb1", StateDir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		bus.Close()
	}
}
