// SPDX-License-Identifier: Apache-2.0

package probestest

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestSnmpdElsewhere starts the agent in another network namespace, as the
// daemon's tests do, and expects nothing of it to be left after Stop. What the
// agent answers is tested by package probes.
func TestSnmpdElsewhere(t *testing.T) {
	if _, err := exec.LookPath("snmpd"); err != nil || os.Getuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs snmpd and root")
		}
		t.Skip("needs snmpd and root")
	}
	dir := t.TempDir()
	s, err := StartSnmpd(context.Background(), SnmpdConfig{
		Dir: dir, Addr: netip.MustParseAddrPort("127.0.0.1:161"), Community: "open",
		Exec: []string{"unshare", "-n"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := exec.Command("readlink", "/proc/"+strconv.Itoa(s.PID())+"/ns/net").Output()
	if err != nil || strings.TrimSpace(string(theirs)) == ours {
		t.Errorf("namespace of the agent: %s (%v), ours: %s", theirs, err, ours)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(s.PID())); err == nil {
		t.Error("the process is still there")
	}
}

func TestSnmpdSaysWhyNot(t *testing.T) {
	_, err := StartSnmpd(context.Background(), SnmpdConfig{
		Dir: t.TempDir(), Addr: netip.MustParseAddrPort("127.0.0.1:161"),
		Exec: []string{"sh", "-c", "echo no such luck; exit 1"},
	})
	if err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("got %v, want what the command said", err)
	}
}
