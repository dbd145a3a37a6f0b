// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
)

// A length is how long a message is, in bytes.
type length struct {
	body int // what the servers count
	wire int // with the subject and what NATS adds
}

// lengths are those of a message of each class.
func (z Size) lengths(t testing.TB) map[bus.Class]length {
	const added = len("MSG  12 1234\r\n\r\n")
	b := bustest.Start(t)
	out := map[bus.Class]length{}
	for _, s := range z.Paper() {
		if s.PerSecond == 0 {
			continue
		}
		long := make(chan length, 1) // the one message
		cancel, err := b.Subscribe(string(s.Class)+".>", func(subject string, data []byte) {
			long <- length{len(data), len(subject) + len(data) + added}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := z.say(b, s.Class, 0); err != nil {
			t.Fatal(err)
		}
		out[s.Class] = <-long
		cancel()
	}
	return out
}

// parseSize reads 100x1000x16, and 100x1000x16x0.1x50 with Moves and Reported.
func parseSize(text string) (Size, error) {
	z := Size{Probers: 1, ProbeEvery: 5 * time.Second}
	into := []any{&z.Nodes, &z.Services, &z.Backends, &z.Moves, &z.Reported}
	n, err := fmt.Sscan(strings.ReplaceAll(text, "x", " "), into...)
	if n < 3 || n != strings.Count(text, "x")+1 {
		return z, fmt.Errorf("size %q: want nodes, services and backends of each, such as 100x1000x16, and then moves a second and services with reports: %w", text, err)
	}
	return z, nil
}
