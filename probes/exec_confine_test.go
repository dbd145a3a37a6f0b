// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// These tests look at a command from inside, and at what is left of it outside.

// outputOf runs a target's command and returns all that it printed.
func outputOf(t *testing.T, target Target) string {
	t.Helper()
	p, ok := newExec(target).(*execProbe)
	if !ok {
		t.Fatal(newExec(target).probe(context.Background()).detail)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c := execCommand{args: p.arguments(), env: p.environment(), user: p.user, way: way(target.Spec.Way), timeout: p.timeout()}
	e := startExec(ctx, c).finish(ctx)
	defer e.release()
	if e.err != nil || e.outcome() != "exit code 0" {
		t.Fatalf("%v, %s: %s%s", e.err, e.outcome(), e.out.text(), e.errors.text())
	}
	return string(e.out.text())
}

// procField finds the value behind a name in a file of /proc, with single spaces.
func procField(text, name string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name); ok {
			return strings.Join(strings.Fields(v), " ")
		}
	}
	return "absent"
}

// TestExecConfined asks the kernel what a command may do.
func TestExecConfined(t *testing.T) {
	need(t, os.Getuid() == 0, "root")
	const none = "0000000000000000"
	for user, ids := range map[string]string{"": "65534", "0:0": "0", "7:9": "7"} {
		groups, bounding := "", fmt.Sprintf("%016x", 1<<unix.CAP_NET_RAW)
		if user == "" {
			groups = ids
		}
		if ids == "0" {
			bounding = none
		}
		target := execTarget("/bin/cat", "/proc/self/status", "/proc/self/limits")
		target.Spec.Exec.User = user
		got := outputOf(t, target)
		gid := ids
		if ids == "7" {
			gid = "9"
		}
		for name, want := range map[string]string{
			"Uid:": strings.TrimSpace(strings.Repeat(ids+" ", 4)), "Gid:": strings.TrimSpace(strings.Repeat(gid+" ", 4)), "Groups:": groups,
			"CapInh:": none, "CapPrm:": none, "CapEff:": none, "CapBnd:": bounding, "CapAmb:": none,
			"NoNewPrivs:": "1", "Umask:": "0077", "PPid:": fmt.Sprint(os.Getpid()),
			"Max core file size": "0 0 bytes", "Max open files": "256 256 files", "Max data size": "1073741824 1073741824 bytes", "Max cpu time": "11 12 seconds",
		} {
			if got := procField(got, name); got != want {
				t.Errorf("user %q: %s %q, want %q", user, name, got, want)
			}
		}
		if pids := strings.Fields(procField(got, "NSpid:")); len(pids) < 2 || pids[len(pids)-1] != "1" {
			t.Errorf("user %q: process numbers %v, want one of its own namespace", user, pids)
		}
	}
}

func TestExecSurroundings(t *testing.T) {
	t.Setenv("STEELYARD_TEST_SECRET", "x")
	target := execTarget("/usr/bin/env")
	target.Spec.Exec.Env = map[string]core.Secret{"COLOUR": "red"}
	if got, want := outputOf(t, target), "COLOUR=red\nLC_ALL=C\nPATH="+pathOfCommands+"\n"; got != want {
		t.Errorf("environment: got %q, want %q", got, want)
	}
	files := outputOf(t, execTarget("/usr/bin/find", "/proc/self/fd", "/proc/self/cwd", "-printf", "%f %l\n"))
	for _, want := range []string{"0 /dev/null\n", "1 pipe:[", "2 pipe:[", "cwd /\n"} {
		if !strings.Contains(files, want) {
			t.Errorf("no %q among its files:\n%s", want, files)
		}
	}
	// The directory itself, . and what find has opened there are the rest.
	if n := strings.Count(files, "\n"); n > 8 {
		t.Errorf("it inherited files of ours:\n%s", files)
	}
	stat := outputOf(t, execTarget("/bin/cat", "/proc/self/stat"))
	if f := strings.Fields(stat); f[4] != f[0] || f[5] != f[0] {
		t.Errorf("process %s has group %s and session %s: want its own", f[0], f[4], f[5])
	}
}

// TestExecLeavesUsAlone: what a command gives up, this process keeps.
func TestExecLeavesUsAlone(t *testing.T) {
	look := func() []string {
		t.Helper()
		out, err := exec.Command("/bin/cat", "/proc/self/status").Output()
		if err != nil {
			t.Fatal(err)
		}
		ns, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		return []string{procField(string(out), "CapBnd:"), procField(string(out), "CapInh:"), procField(string(out), "NoNewPrivs:"), procField(string(out), "Umask:"), ns}
	}
	before := look()
	for range 20 {
		wantCode(t, ask(t, execShell("exit 0")), true, core.ProcOK, "")
		if after := look(); !slices.Equal(before, after) {
			t.Fatalf("before %q, after %q", before, after)
		}
	}
}

func TestExecNetns(t *testing.T) {
	need(t, os.Getuid() == 0, "root")
	name := fmt.Sprintf("sy-exec-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		need(t, false, fmt.Sprintf("network namespaces: %s", out))
	}
	defer exec.Command("ip", "netns", "del", name).Run() //nolint:errcheck // the namespace is this test's own
	var there unix.Stat_t
	if err := unix.Stat("/run/netns/"+name, &there); err != nil {
		t.Fatal(err)
	}
	target := execTarget("/usr/bin/readlink", "/proc/self/ns/net")
	target.Spec.Way.Netns = name
	if got, want := strings.TrimSpace(outputOf(t, target)), fmt.Sprintf("net:[%d]", there.Ino); got != want {
		t.Errorf("it ran in %s, want %s", got, want)
	}
}

// TestExecUnprivileged runs a probe in a daemon that is not root and has ambient
// capabilities, as systemd gives them: the command gets none.
func TestExecUnprivileged(t *testing.T) {
	need(t, os.Getuid() == 0, "root, to become somebody else")
	run := func(script string, env ...string) string {
		t.Helper()
		cmd := execHelper(t, script)
		cmd.Env = append(cmd.Env, env...)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: 7, Gid: 9},
			AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW},
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	out := run(`awk '/^(Uid|CapEff|CapPrm|CapAmb|CapInh|NoNewPrivs)/ {printf "%s%s ", $1, $2}' /proc/self/status`)
	const none = "0000000000000000"
	if want := "Uid:7 CapInh:" + none + " CapPrm:" + none + " CapEff:" + none + " CapAmb:" + none + " NoNewPrivs:1"; !strings.Contains(out, want) {
		t.Errorf("got %s\nwant %s", out, want)
	}
	if !strings.Contains(out, "user 7, as the daemon: it is not root") {
		t.Errorf("it does not say as whom it ran: %s", out)
	}
	// Without a PID namespace the group is what dies, at the time-out and before.
	for end, code := range map[string]core.Code{"sleep": core.ProcTime, "exit 0 #": core.ProcOK} {
		m := sleepMark(91)
		out = run("sleep "+m+" & (sleep "+m+" & sleep "+m+") & "+end+" "+m, "STEELYARD_EXEC_SHORT=1")
		if left := processes(t, "sleep\x00"+m); len(left) > 0 || !strings.Contains(out, string(code)) {
			t.Errorf("processes %v are left: %s", left, out)
		}
	}
}

// TestExecFiles: what a careless parent left open for the daemon does not get to
// commands.
func TestExecFiles(t *testing.T) {
	leak, err := os.Create(filepath.Join(t.TempDir(), "leak"))
	if err != nil {
		t.Fatal(err)
	}
	defer leak.Close() //nolint:errcheck // nothing is in it
	cmd := execHelper(t, "for f in /proc/self/fd/*; do readlink $f; done | tr '\\n' ' '")
	cmd.ExtraFiles = []*os.File{leak}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PROCOK") || strings.Contains(string(out), leak.Name()) {
		t.Errorf("%v: %s\nwant no %s", err, out, leak.Name())
	}
}

// TestExecLeavesNothing: no thread, no goroutine and no file is left by a run.
func TestExecLeavesNothing(t *testing.T) {
	count := func() (threads, files int) {
		t.Helper()
		for _, c := range []struct {
			dir string
			n   *int
		}{{"/proc/self/task", &threads}, {"/proc/self/fd", &files}} {
			list, err := os.ReadDir(c.dir)
			if err != nil {
				t.Fatal(err)
			}
			*c.n = len(list)
		}
		return threads, files
	}
	run := func() {
		wantCode(t, ask(t, execShell("echo x; exit 0")), true, core.ProcOK, "x")
		wantCode(t, ask(t, execTarget("/no/such/program")), false, core.Internal, "no such program")
	}
	run() // the first one opens what stays
	goroutines := runtime.NumGoroutine()
	threads, files := count()
	for range 50 {
		run()
	}
	// A thread that has done its work takes a moment to end.
	waitFor(t, "the end of its threads", func() bool {
		ts, fs := count()
		return ts <= threads+10 && fs <= files+2 && runtime.NumGoroutine() <= goroutines
	})
}
