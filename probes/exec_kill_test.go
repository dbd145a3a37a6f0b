// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// processes are the live ones whose command line holds a mark.
func processes(t *testing.T, mark string) (pids []string) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		line, err := os.ReadFile(dir + "/cmdline")
		if err == nil && strings.Contains(string(line), mark) && filepath.Base(dir) != fmt.Sprint(os.Getpid()) {
			pids = append(pids, filepath.Base(dir))
		}
	}
	return pids
}

// zombies are children of ours that nobody waited for.
func zombies(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		_, after, _ := strings.Cut(string(text), ") ") // a name may hold spaces
		if strings.HasPrefix(after, fmt.Sprintf("Z %d ", os.Getpid())) {
			n++
		}
	}
	return n
}

// sleepMark is an argument of sleep that no other process has.
func sleepMark(n int) string { return fmt.Sprintf("98%d.%d", n, os.Getpid()) }

// TestExecKillsAll: at the time-out, and at an early end, nothing that the command
// started is left, and what holds its output does not hold us up.
func TestExecKillsAll(t *testing.T) {
	need(t, os.Getuid() == 0, "root")
	tests := []struct {
		name   string
		script string // %s is the mark
		code   core.Code
	}{
		{"it hangs", "exec sleep %[1]s", core.ProcTime},
		{"it ignores signals", "trap '' TERM INT HUP; sleep %[1]s; sleep %[1]s", core.ProcTime},
		{"a child holds the output", "sleep %[1]s & exit 0", core.ProcOK},
		{"a child left the session", "setsid sleep %[1]s & sleep 0.1; exit 0", core.ProcOK},
		{"a grandchild left the session", "setsid -f sh -c 'sleep %[1]s' ; setsid -f setsid -f sleep %[1]s; exec sleep %[1]s", core.ProcTime},
		{"a tree", "f() { if [ $1 -gt 0 ]; then f $(($1-1)) & f $(($1-1)) & fi; sleep %[1]s; }; f 5", core.ProcTime},
		{"it closes its output", "exec >&- 2>&-; sleep %[1]s", core.ProcTime},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := sleepMark(i)
			target := execShell(fmt.Sprintf(tt.script, m))
			if target.Spec.Timeout = 700 * time.Millisecond; tt.code == core.ProcOK {
				target.Spec.Timeout = ample
			}
			s := ask(t, target)
			wantCode(t, s, tt.code == core.ProcOK, tt.code, "")
			if left := processes(t, m); len(left) > 0 {
				t.Errorf("processes %v are left", left)
			}
			if n := zombies(t); n > 0 {
				t.Errorf("%d zombies", n)
			}
		})
	}
}

// TestExecHelper is not a test: it is the other process of those below.
func TestExecHelper(t *testing.T) {
	script := os.Getenv("STEELYARD_EXEC_HELPER")
	if script == "" {
		return
	}
	target := execShell(script)
	target.Spec.Timeout = 20 * time.Second
	if os.Getenv("STEELYARD_EXEC_SHORT") != "" {
		target.Spec.Timeout = time.Second
	}
	target.Spec.Exec.Convention = core.ExitZero
	var notes []string
	ctx, cancel := context.WithTimeout(traced(context.Background(), func(_, text string) { notes = append(notes, text) }), target.Spec.Timeout)
	defer cancel()
	r := newProber(target).probe(ctx)
	fmt.Printf("helper: %s %s (%s)\n", r.code, r.detail, strings.Join(notes, "; "))
}

// execHelper is this program once more, to run a script by a probe.
func execHelper(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestExecHelper$", "-test.v")
	cmd.Env = append(os.Environ(), "STEELYARD_EXEC_HELPER="+script)
	return cmd
}

// TestExecDiesWithUs: a daemon that is killed takes its commands with it.
func TestExecDiesWithUs(t *testing.T) {
	m := sleepMark(90)
	cmd := execHelper(t, "sleep "+m+" & sleep "+m)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the command", func() bool { return len(processes(t, "sleep\x00"+m)) == 2 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if os.Getuid() == 0 {
		waitFor(t, "the end of its children", func() bool { return len(processes(t, "sleep\x00"+m)) == 0 })
	}
}

func waitFor(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain for " + what)
		}
	}
}
