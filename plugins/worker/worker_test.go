// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// TestMain is the worker when Start runs this binary again.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		os.Exit(Main())
	}
	if len(os.Args) == 3 && os.Args[1] == "escape" {
		os.Exit(tryEscapes(os.Args[2]))
	}
	if len(os.Args) == 3 && os.Args[1] == "lie" {
		os.Exit(liars[os.Args[2]]())
	}
	os.Exit(m.Run())
}

func start(t *testing.T) *Process {
	t.Helper()
	p, err := Start(context.Background(), []string{"/proc/self/exe", "worker"}, DefaultMemory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs root, and CI must not skip it")
	}
	t.Skip("needs root")
}

// TestConfined reads from the kernel what the worker has left.
func TestConfined(t *testing.T) {
	requireRoot(t)
	p := start(t)
	proc := "/proc/" + strconv.Itoa(p.PID())
	tasks, err := os.ReadDir(proc + "/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks { // every thread, not only the first
		b, err := os.ReadFile(proc + "/task/" + task.Name() + "/status")
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]string{}
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(line, ":")
			have[key] = strings.Join(strings.Fields(value), " ")
		}
		for key, want := range map[string]string{
			"Uid": "65534 65534 65534 65534", "Gid": "65534 65534 65534 65534", "Groups": "", "NoNewPrivs": "1",
			"CapInh": strings.Repeat("0", 16), "CapPrm": strings.Repeat("0", 16), "CapEff": strings.Repeat("0", 16),
			"CapAmb": strings.Repeat("0", 16),
		} {
			if have[key] != want {
				t.Errorf("thread %s: %s is %q, want %q", task.Name(), key, have[key], want)
			}
		}
	}
	for _, ns := range []string{"net", "ipc", "uts"} {
		theirs, err1 := os.Readlink(proc + "/ns/" + ns)
		ours, err2 := os.Readlink("/proc/self/ns/" + ns)
		if err1 != nil || err2 != nil || theirs == ours {
			t.Errorf("namespace %s: worker %s (%v), parent %s (%v)", ns, theirs, err1, ours, err2)
		}
	}
	fds, err := os.ReadDir(proc + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		target, err := os.Readlink(proc + "/fd/" + fd.Name())
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(target, "pipe:"), strings.HasPrefix(target, "socket:"), strings.HasPrefix(target, "anon_inode:"),
			strings.HasPrefix(target, "/memfd:steelyard-progress"), target == "/dev/null":
		case strings.HasPrefix(target, "/sys/fs/cgroup/"):
			// Go's runtime keeps the cgroup's CPU limit open, for reading.
		default:
			t.Errorf("the worker has %s open: %s", fd.Name(), target)
		}
	}
	if !strings.Contains(p.How(), "no_new_privs") {
		t.Errorf("the worker says %q", p.How())
	}
}

// TestInheritsNothing: a descriptor that is open in the daemon without
// close-on-exec stays out of the worker.
func TestInheritsNothing(t *testing.T) {
	fd, err := unix.Open("/", unix.O_RDONLY, 0) // as a careless parent would leave it
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const high = 40 // a number that the worker itself does not come to
	if err := unix.Dup3(fd, high, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(high)
	p := start(t)
	if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.PID(), high)); err == nil {
		t.Errorf("the worker holds descriptor %d, %s", high, to)
	}
}

// TestNoCapabilitiesLeft holds for a worker of any user.
func TestNoCapabilitiesLeft(t *testing.T) {
	p := start(t)
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		if !strings.Contains(string(b), set+":\t0000000000000000\n") {
			t.Errorf("%s is not empty:\n%s", set, b)
		}
	}
}

// TestAmbientCapabilities runs the test above as a daemon that systemd gave
// CAP_NET_ADMIN without root: its children inherit that.
func TestAmbientCapabilities(t *testing.T) {
	requireRoot(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestNoCapabilitiesLeft$", "-test.v")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 1000, Gid: 1000},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN},
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestNoCapabilitiesLeft") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestCallWithoutModule: a call for a module that is not there is an error of
// that call.
func TestCallWithoutModule(t *testing.T) {
	p := start(t)
	var b Batch
	b.Reset()
	b.Add([]byte("x"))
	r, err := p.Call(&b, helloLimits)
	if err != nil {
		t.Fatal(err)
	}
	if len(r) != 1 || !strings.Contains(r[0].Err, "no module is loaded") {
		t.Errorf("got %+v", r)
	}
}

// TestLongTexts: what a worker says to people is cut off, however long it is.
func TestLongTexts(t *testing.T) {
	long := []byte(strings.Repeat("\u00e9", 1<<20))
	s := server{out: le.AppendUint32(begin(nil, typeResults), 1)}
	s.result(statusError, 0, long, []abi.Line{{Text: string(long)}})
	results, err := decodeResults(nil, s.out[5:], 1)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := decodeLoaded(appendLog(appendBytes([]byte{statusError}, long), nil))
	if err != nil {
		t.Fatal(err)
	}
	for where, got := range map[string]string{"an error": results[0].Err, "a line": results[0].Logs[0].Text, "a refusal": loaded.Err} {
		if len(got) > maxText+10 || !strings.HasPrefix(got, "\u00e9\u00e9") || !utf8.ValidString(got) {
			t.Errorf("%s has %d bytes, from %.20q to %q", where, len(got), got, got[max(0, len(got)-10):])
		}
	}
}

func TestMessagesRoundTrip(t *testing.T) {
	var s server
	s.out = le.AppendUint32(begin(nil, typeResults), 2)
	s.result(statusOK, 1500, []byte("answer"), nil)
	s.result(statusError, 7, []byte("cause"), []abi.Line{{Level: 2, Text: "text"}})
	kind, body, _, err := readFrame(bytes.NewReader(end(s.out)), nil)
	if err != nil || kind != typeResults {
		t.Fatal(kind, err)
	}
	got, err := decodeResults(nil, body, 2)
	if err != nil {
		t.Fatal(err)
	}
	if string(got[0].Answer) != "answer" || got[0].Took != 1500 || got[1].Err != "cause" || got[1].Logs[0] != (abi.Line{Level: 2, Text: "text"}) {
		t.Errorf("got %+v", got)
	}
}

// FuzzFrame gives any bytes as the worker's side of the conversation.
func FuzzFrame(f *testing.F) {
	var s server
	s.out = le.AppendUint32(begin(nil, typeResults), 1)
	s.result(statusError, 7, []byte("cause"), []abi.Line{{Level: 2, Text: "text"}})
	f.Add(bytes.Clone(end(s.out)))
	f.Add([]byte{1, 0, 0, 0, typeLoaded})
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 4 && le.Uint32(b) > 1<<20 {
			return // only makes a large buffer
		}
		_, body, _, err := readFrame(bytes.NewReader(b), nil)
		if err != nil {
			return
		}
		for n := range 3 {
			if r, err := decodeResults(nil, body, n); err == nil && len(r) != n {
				t.Errorf("%d results for %d calls", len(r), n)
			}
		}
		if l, err := decodeLoaded(body); err == nil && len(l.Logs) > maxLines {
			t.Errorf("%d log lines", len(l.Logs))
		}
	})
}
