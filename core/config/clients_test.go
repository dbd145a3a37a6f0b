// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestLargeList: 100,000 lines, which several services share, are read once.
func TestLargeList(t *testing.T) {
	var list, text strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&list, "10.%d.%d.%d/31 # %d\n", i>>15&255, i>>7&255, i<<1&255, i)
	}
	list.WriteString("10.0.0.0/20\n")
	text.WriteString("services:\n")
	for i := range 100 {
		fmt.Fprintf(&text, "  s%d: {vip: 192.0.2.%d, port: 80, deny_file: deny, backends: {a: {address: 10.255.0.1}}}\n", i, i)
	}
	disk := files{"/etc/s.yaml": text.String(), "/etc/deny": list.String()}
	reads := 0
	cfg := mustLoad(t, disk.with(func(o *Options) {
		o.ReadFile = func(path string) ([]byte, error) {
			if path == "/etc/deny" {
				reads++
			}
			return disk.read(path)
		}
	}))
	if reads != 1 {
		t.Errorf("the list was read %d times", reads)
	}
	if got, want := len(cfg.Services[0].Deny), 100_000-2048+1; got != want {
		t.Errorf("deny has %d prefixes, want %d", got, want)
	}
	disk["/etc/deny"] += "192.0.2.77\n"
	if mustLoad(t, disk.options()).Hash == cfg.Hash {
		t.Error("another line in deny_file left the hash as it was")
	}
}

func TestListTooLarge(t *testing.T) {
	var list strings.Builder
	for i := range maxClients + 1 {
		fmt.Fprintf(&list, "10.%d.%d.%d\n", i>>16, i>>8&255, i&255)
	}
	_, err := Load(files{"/etc/s.yaml": web + "    deny_file: deny\n", "/etc/deny": list.String()}.options())
	if want := "/etc/s.yaml:8:16: services.web.deny_file: deny has 250001 prefixes, at most 250000 can be (join neighbours into networks)"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
