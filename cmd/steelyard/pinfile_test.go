// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/core"
)

func TestPinsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "pins.json")
	f := newPinFile(path)
	if got, err := f.load(); got != nil || err != nil {
		t.Fatalf("without a file: %v, %v", got, err)
	}
	all := map[string][]core.PinState{"web": {
		{Pin: core.Pin{Client: netip.MustParsePrefix("192.0.2.7/32"), Backend: "web1"}, Author: "alice", Reason: "a test", Since: noon, Until: noon.Add(time.Hour)},
		{Pin: core.Pin{Client: netip.MustParsePrefix("2001:db8::/32"), Backend: "web2"}, Author: "bob", Since: noon},
	}}
	if err := f.Save(2, all); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(1, nil); err != nil { // late
		t.Fatal(err)
	}
	got, err := newPinFile(path).load()
	if diff := cmp.Diff(all, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" || err != nil {
		t.Errorf("load (-want +got): %v\n%s", err, diff)
	}
}

// Of a file with bad entries the good ones are used, and the file is kept.
func TestBadPins(t *testing.T) {
	good := `{"client": "192.0.2.7/32", "backend": "web1", "author": "alice"}`
	for name, tt := range map[string]struct {
		data string
		want string
		left int
	}{
		"no JSON":         {"{", "unexpected end", 0},
		"another version": {`{"version": 9}`, "version 9: this steelyard reads 1", 0},
		"nobody":          {`{"version": 1, "pins": {"web": [` + good + `, {"client": "192.0.2.8/32", "backend": "web1"}]}}`, "author is missing", 1},
		"twice":           {`{"version": 1, "pins": {"web": [` + good + `, ` + good + `]}}`, "it is there twice", 1},
		"no prefix":       {`{"version": 1, "pins": {"web": [{"client": "web", "backend": "a", "author": "b"}]}}`, "netip", 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := newPinFile(filepath.Join(t.TempDir(), "pins.json"))
			if err := os.WriteFile(f.path, []byte(tt.data), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := f.load()
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(got["web"]) != tt.left {
				t.Errorf("got %v, %v; want %q and %d", got, err, tt.want, tt.left)
			}
			if kept, err := os.ReadFile(f.path + ".bad"); string(kept) != tt.data {
				t.Errorf("kept %q, %v", kept, err)
			}
		})
	}
}

func FuzzPins(f *testing.F) {
	f.Add([]byte(`{"version": 1, "pins": {"web": [{"client": "192.0.2.7/32", "backend": "web1", "author": "alice", "since": "2026-03-04T12:00:00Z"}]}}`))
	f.Add([]byte(`{"version": 1, "pins": {"": [{"client": "::ffff:1.2.3.4/120"}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, _ := decodePins(data)
		for _, pins := range all {
			for _, p := range pins {
				if err := p.Check(); err != nil {
					t.Errorf("%+v got through: %v", p, err)
				}
			}
		}
	})
}
