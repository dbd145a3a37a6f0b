// SPDX-License-Identifier: Apache-2.0

// Package bustest gives tests a real bus: the embedded server starts in a few
// milliseconds, so there is no imitation of it to keep true.
package bustest

import (
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
)

// patience is how long a test waits for a message that should come at once.
const patience = 30 * time.Second

// Node is the name of the node of Start's bus.
const Node = "lb1"

// Start starts a bus that nobody else can reach. It is closed when t ends.
func Start(t testing.TB) *bus.Bus {
	t.Helper()
	return StartWith(t, bus.Options{Node: Node})
}

// StartWith starts a bus with options. It is closed when t ends.
func StartWith(t testing.TB, o bus.Options) *bus.Bus {
	t.Helper()
	b, err := bus.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// A Message is what came over the bus.
type Message struct {
	Subject string
	Body    any // what bus.Decode made of it
}

// Expect runs act and returns the first message on pattern that match accepts;
// a nil match accepts any. It fails t if none comes within 30 s.
func Expect(t testing.TB, b *bus.Bus, pattern string, act func(), match func(Message) bool) Message {
	t.Helper()
	// As long as the bus's own queue. When full, the subscriber waits until the
	// test has read or is over.
	got := make(chan Message, 4096)
	over := make(chan struct{})
	cancel, err := b.Subscribe(pattern, func(subject string, data []byte) {
		body, err := bus.Decode(subject, data)
		if err != nil {
			t.Errorf("message that nobody could read: %v", err)
		}
		select {
		case got <- Message{subject, body}:
		case <-over:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	defer close(over)
	act()
	timeout := time.After(patience)
	seen := 0
	for {
		select {
		case m := <-got:
			if seen++; match == nil || match(m) {
				return m
			}
		case <-timeout:
			t.Fatalf("no message on %s that fits within %v; %d others came", pattern, patience, seen)
		}
	}
}
