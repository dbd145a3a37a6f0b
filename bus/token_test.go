// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestEscape(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "web-1_A", "web-1_A"},
		{"empty", "", "="},
		{"host and port", "web-07.example.net:8443", "web-07=2Eexample=2Enet=3A8443"},
		{"wildcards", "*>", "=2A=3E"},
		{"escape itself", "a=b", "a=3Db"},
		{"not ASCII", "é", "=C3=A9"},
		{"lone equals", "=", "=3D"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Escape(tt.in); got != tt.want {
				t.Errorf("Escape(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestUnescapeRefuses(t *testing.T) {
	for _, in := range []string{"", "a.b", "*", ">", "a b", "=2", "=2e", "=zz", "=61", "==", "é", "a="} {
		if got, err := Unescape(in); err == nil {
			t.Errorf("Unescape(%q) = %q, want an error", in, got)
		}
	}
}

func TestTokenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := string(rapid.SliceOf(rapid.Byte()).Draw(t, "name"))
		token := Escape(name)
		if token == "" || strings.ContainsAny(token, ".*> \t\r\n") {
			t.Fatalf("Escape(%q) = %q is no token", name, token)
		}
		if got, err := Unescape(token); err != nil || got != name {
			t.Fatalf("Unescape(%q) = %q, %v, want %q", token, got, err, name)
		}
	})
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "web1", "=", "=2E", "a=2Eb", "==", "=2", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if name, err := Unescape(Escape(s)); err != nil || name != s {
			t.Fatalf("Unescape(Escape(%q)) = %q, %v", s, name, err)
		}
		// A name has one token only, or permissions on tokens would have holes.
		if name, err := Unescape(s); err == nil && Escape(name) != s {
			t.Fatalf("Unescape(%q) = %q, which is escaped as %q", s, name, Escape(name))
		}
	})
}

func BenchmarkEscape(b *testing.B) {
	for b.Loop() {
		Escape("web-07.example.net:8443")
	}
}
