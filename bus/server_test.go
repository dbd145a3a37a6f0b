// SPDX-License-Identifier: Apache-2.0

package bus

import (
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

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		bus, err := Start(b.Context(), Options{Node: "lb1", StateDir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		bus.Close()
	}
}
