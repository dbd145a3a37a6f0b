// SPDX-License-Identifier: Apache-2.0

package probestest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gosnmp/gosnmp"
)

func machine() map[string]Value {
	return CPU{User: 1, Nice: 2, System: 3, Idle: 1<<32 - 1, Wait: 5, Interrupt: 6, SoftIRQ: 7, Steal: 8, Cores: 4}.Objects()
}

func start(t *testing.T) net.Addr {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{Conn: conn, Community: "open", Objects: machine}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // holds the one result until the cleanup takes it
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return conn.LocalAddr()
}

// TestAgentWithNetSNMP lets net-snmp's own tools judge the agent.
func TestAgentWithNetSNMP(t *testing.T) {
	if _, err := exec.LookPath("snmpwalk"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs net-snmp's tools")
		}
		t.Skip("needs net-snmp's tools")
	}
	addr := start(t).String()
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, append([]string{"-v2c", "-On", "-t1", "-r0"}, args...)...)
		cmd.Env = append(os.Environ(), "MIBS=", "SNMP_PERSISTENT_DIR="+t.TempDir())
		out, _ := cmd.CombinedOutput() // its text tells success from failure
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return strings.Join(slices.DeleteFunc(lines, func(l string) bool {
			return strings.HasPrefix(l, "Created directory")
		}), "\n")
	}
	want := strings.Join([]string{
		".1.3.6.1.4.1.2021.11.50.0 = Counter32: 1",
		".1.3.6.1.4.1.2021.11.51.0 = Counter32: 2",
		".1.3.6.1.4.1.2021.11.52.0 = Counter32: 3",
		".1.3.6.1.4.1.2021.11.53.0 = Counter32: 4294967295",
		".1.3.6.1.4.1.2021.11.54.0 = Counter32: 5",
		".1.3.6.1.4.1.2021.11.56.0 = Counter32: 6",
		".1.3.6.1.4.1.2021.11.61.0 = Counter32: 7",
		".1.3.6.1.4.1.2021.11.64.0 = Counter32: 8",
		".1.3.6.1.4.1.2021.11.67.0 = INTEGER: 4",
		".1.3.6.1.4.1.2021.11.67.0 = No more variables left in this MIB View (It is past the end of the MIB tree)",
	}, "\n")
	if diff := cmp.Diff(want, run("snmpwalk", "-c", "open", addr, ".1.3.6.1.4.1.2021")); diff != "" {
		t.Errorf("snmpwalk (-want +got):\n%s", diff)
	}
	got := run("snmpget", "-c", "open", addr, ".1.3.6.1.4.1.2021.11.53.0", ".1.3.6.1.4.1.2021.11.99.0", ".1.3.6.1.2.1.1.3.0")
	for _, part := range []string{"Counter32: 4294967295", ".99.0 = No Such Instance", ".1.3.0 = Timeticks:"} {
		if !strings.Contains(got, part) {
			t.Errorf("snmpget: no %q in\n%s", part, got)
		}
	}
	if got := run("snmpget", "-c", "shut", addr, ".1.3.6.1.2.1.1.3.0"); !strings.Contains(got, "Timeout") {
		t.Errorf("another community got %q, want silence", got)
	}
	if got := run("snmpset", "-c", "open", addr, ".1.3.6.1.4.1.2021.11.67.0", "i", "9"); !strings.Contains(got, "Timeout") {
		t.Errorf("a SET got %q, want silence", got)
	}
}

func TestCompareOID(t *testing.T) {
	want := []string{".1.3.6", ".1.3.6.1", ".1.3.6.1.9.0", ".1.3.6.1.10.0", ".1.3.6.1.10.1"}
	got := []string{".1.3.6.1.10.1", ".1.3.6.1.10.0", ".1.3.6", ".1.3.6.1.9.0", ".1.3.6.1"}
	slices.SortFunc(got, compareOID)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzAgent throws datagrams at the agent: it must neither panic nor answer
// anybody who does not know the community.
func FuzzAgent(f *testing.F) {
	for _, kind := range []gosnmp.PDUType{gosnmp.GetRequest, gosnmp.GetNextRequest, gosnmp.GetBulkRequest, gosnmp.SetRequest} {
		for _, community := range []string{"open", "shut", ""} {
			p := gosnmp.SnmpPacket{Version: gosnmp.Version2c, Community: community, PDUType: kind, RequestID: 7,
				Variables: []gosnmp.SnmpPDU{{Name: ".1.3.6.1.4.1.2021.11.50.0", Type: gosnmp.Null}}}
			b, err := p.MarshalMsg()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
			f.Add(b[:len(b)/2])
		}
	}
	f.Add([]byte{})
	f.Add([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff})
	a := &Agent{Community: "open", Objects: machine}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		if answer := a.answer(datagram, time.Second); answer != nil && !strings.Contains(string(datagram), "open") {
			t.Errorf("answered %x", datagram)
		}
	})
}
