// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"testing"
	"time"
)

func TestSpent(t *testing.T) {
	for d, want := range map[time.Duration]string{
		450: "0.5 µs", 15694: "16 µs", 183062: "183 µs", 2_260_558: "2.3 ms", 50 * time.Millisecond: "50 ms", 3568200 * time.Microsecond: "3.6 s",
	} {
		if got := spent(d); got != want {
			t.Errorf("%d ns: %q, want %q", d, got, want)
		}
	}
}
