// SPDX-License-Identifier: Apache-2.0

package core

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestOverrideRequest(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name string
		in   OverrideRequest
		want string // of the override, or of the error
	}{
		{"drain", OverrideRequest{Kind: OverrideDrain, Author: "alice", Reason: "kernel update"}, "drain by alice: kernel update"},
		{"weight", OverrideRequest{Kind: OverrideWeight, Weight: 1000, Author: "bob"}, "weight 1000 by bob"},
		{"weight 0", OverrideRequest{Kind: OverrideWeight, Author: "bob"}, "weight 0 by bob"},
		{"weight too large", OverrideRequest{Kind: OverrideWeight, Weight: 1001, Author: "bob"}, "want 0 to 1000"},
		{"drain with a weight", OverrideRequest{Kind: OverrideDrain, Weight: 1, Author: "bob"}, "a drain has no weight"},
		{"nobody", OverrideRequest{Kind: OverrideDrain}, "author is missing"},
		{"no kind", OverrideRequest{Author: "bob"}, `override "": want drain or weight`},
		{"ready", OverrideRequest{Kind: OverrideReady, Author: "bob"}, ""},
		{"ready by nobody", OverrideRequest{Kind: OverrideReady}, "author is missing"},
		{"ready for a while", OverrideRequest{Kind: OverrideReady, Author: "bob", ForSeconds: 1}, "neither a weight nor a time"},
		{"an escape", OverrideRequest{Kind: OverrideDrain, Author: "bob", Reason: "a\x1b[31m"}, "reason: '\\x1b' is not a character to print"},
		{"not UTF-8", OverrideRequest{Kind: OverrideDrain, Author: "bo\xff"}, "author: is not UTF-8"},
		{"a long story", OverrideRequest{Kind: OverrideDrain, Author: "bob", Reason: strings.Repeat("a", 257)}, "257 bytes, want at most 256"},
		{"backwards", OverrideRequest{Kind: OverrideDrain, Author: "bob", ForSeconds: -1}, "want 0 to"},
		{"for ever", OverrideRequest{Kind: OverrideDrain, Author: "bob", ForSeconds: 1e12}, "want 0 to"},
		{"no number", OverrideRequest{Kind: OverrideDrain, Author: "bob", ForSeconds: math.NaN()}, "want 0 to"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, set, err := tt.in.Override(now)
			got := ""
			switch {
			case err != nil:
				got = err.Error()
			case set:
				got = o.String()
			}
			if got != tt.want && (tt.want == "" || !strings.Contains(got, tt.want)) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	o, _, err := OverrideRequest{Kind: OverrideDrain, Author: "bob", ForSeconds: 60}.Override(now)
	if err != nil || o.Over(now.Add(59*time.Second)) || !o.Over(now.Add(time.Minute)) {
		t.Errorf("for 60 s: %+v, %v", o, err)
	}
}
