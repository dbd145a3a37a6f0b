// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// execTarget is a target whose probe runs a command of this machine.
func execTarget(command ...string) Target {
	return Target{
		ID:   core.BackendID{Service: "web", Backend: "web1"},
		Addr: netip.MustParseAddrPort("127.0.0.1:8080"),
		Spec: &core.ProbeSpec{Name: "check", Type: core.ProbeExec, Timeout: 10 * time.Second, Exec: core.ExecSpec{Command: command}},
	}
}

// execShell is a target whose command is a script.
func execShell(script string) Target { return execTarget("/bin/sh", "-c", script) }

func TestExecConventions(t *testing.T) {
	tests := []struct {
		name   string
		script string
		spec   core.ExecSpec
		ok     bool
		code   core.Code
		detail string
	}{
		{"good", "echo 'OK - fine | a=1'; echo more", core.ExecSpec{}, true, core.ProcOK, "OK - fine"},
		{"warning", "echo 'WARNING - slow | a=1'; exit 1", core.ExecSpec{}, true, core.ProcWarn, "WARNING - slow"},
		{"bad warning", "echo 'WARNING - slow'; exit 1", core.ExecSpec{WarningIsBad: true}, false, core.ProcWarn, "WARNING - slow"},
		{"critical", "echo 'CRITICAL - gone | a=1'; exit 2", core.ExecSpec{}, false, core.ProcFailed, "exit code 2: CRITICAL - gone"},
		{"unknown", "echo 'UNKNOWN - what?'; exit 3", core.ExecSpec{}, false, core.Internal, "could not find out (exit code 3): UNKNOWN"},
		{"a wrong option", "echo Usage:; echo \"unrecognized option '--nosuch'\" >&2; exit 3", core.ExecSpec{}, false, core.Internal, "(exit code 3): Usage: (unrecognized option '--nosuch')"},
		{"a shell without its program", "no-such-plugin", core.ExecSpec{}, false, core.Internal, "(exit code 127)"},
		{"a word on the error output", "echo oops >&2; exit 2", core.ExecSpec{}, false, core.ProcFailed, "exit code 2: oops"},
		{"silence", "exit 2", core.ExecSpec{}, false, core.ProcFailed, "it said nothing"},
		{"ended by a signal", "ulimit -c 0; exec 2>/dev/null; sh -c 'kill -TERM $$'; exit $?", core.ExecSpec{Convention: core.ExitZero}, false, core.ProcFailed, "exit code 143"},

		{"keepalived good", "exit 0", core.ExecSpec{Convention: core.Keepalived, DynamicWeight: true}, true, core.ProcOK, ""},
		{"keepalived bad", "exit 1", core.ExecSpec{Convention: core.Keepalived, DynamicWeight: true}, false, core.ProcFailed, "exit code 1"},
		{"keepalived weight", "exit 102", core.ExecSpec{Convention: core.Keepalived, DynamicWeight: true}, true, core.ProcOK, "weight 100"},
		{"keepalived without weight", "exit 102", core.ExecSpec{Convention: core.Keepalived}, false, core.ProcFailed, "exit code 102"},

		{"exit0 good", "echo 'a|b'", core.ExecSpec{Convention: core.ExitZero}, true, core.ProcOK, "a|b"},
		{"exit0 bad", "exit 1", core.ExecSpec{Convention: core.ExitZero}, false, core.ProcFailed, "exit code 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := execShell(tt.script)
			tt.spec.Command = target.Spec.Exec.Command
			target.Spec.Exec = tt.spec
			wantCode(t, ask(t, target), tt.ok, tt.code, tt.detail)
		})
	}
}

func TestExecPlaceholders(t *testing.T) {
	target := execTarget("/bin/echo", "-H", "{address}", "-p", "{port}", "{service}/{backend}", "{other}", "$HOME;*")
	wantCode(t, ask(t, target), true, core.ProcOK, "-H 127.0.0.1 -p 8080 web/web1 {other} $HOME;*")
	target.Spec.Port = 81
	target.Addr = netip.MustParseAddrPort("[2001:db8::1]:80")
	wantCode(t, ask(t, target), true, core.ProcOK, "-H 2001:db8::1 -p 81")
}

func TestExecMetrics(t *testing.T) {
	script := `echo "OK | time=20ms;;;0 'Free Space'=50% weight=7 sent=$(cat /proc/sys/kernel/random/boot_id | wc -c)B; n=17c time=3"`
	s := ask(t, execShell(script))
	wantMetrics(t, s, "time", "free_space", "perf_weight", "sent")
	if m, _ := s.Metric("free_space"); m.Value != 0.5 || m.Unit != "ratio" {
		t.Errorf("got %+v, want a ratio of 0.5", m)
	}
	if m, _ := s.Metric("time"); m.Value != 0.02 || m.Unit != "seconds" {
		t.Errorf("got %+v, want 0.02 seconds", m)
	}

	target := execShell(script)
	target.Spec.Metrics = []core.MetricSpec{
		{Name: "free_bytes", From: "Free Space", Scale: 1000, Unit: "bytes"},
		{Name: "absent", From: "other"},
		{Name: "twice", From: "time"},
		{Name: "slowest", From: "time", Aggregate: core.MaxOf},
	}
	s = ask(t, target)
	wantMetrics(t, s, "free_bytes", "slowest")
	if m, _ := s.Metric("free_bytes"); m.Value != 500 || m.Unit != "bytes" {
		t.Errorf("got %+v, want 500 bytes", m)
	}
}

// TestExecCounter: a counter of a plugin becomes a rate with the second run, also
// where no metric is configured, and until then the probe asks for that run.
func TestExecCounter(t *testing.T) {
	file := filepath.Join(t.TempDir(), "n")
	show := func(n string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	named := execTarget("/bin/cat", file)
	named.Spec.Metrics = []core.MetricSpec{{Name: "sent", From: "bytes_sent", Kind: core.CounterKind, Scale: 8, Unit: "bits_per_second"}}
	for name, target := range map[string]Target{"any": execTarget("/bin/cat", file), "named": named} {
		target.Spec.Exec.User = "0:0" // of a directory that is the test's own
		p := newProber(target)
		show("OK | bytes_sent=1000c")
		wantMetrics(t, askWith(t, target, p))
		if again := p.(patient).enough(result{}); again <= 0 {
			t.Errorf("%s: it is content without a rate", name)
		}
		show("OK | bytes_sent=3000c")
		s := askWith(t, target, p)
		if len(s.Metrics) != 1 || s.Metrics[0].Window <= 0 || s.Metrics[0].Value <= 0 {
			t.Fatalf("%s: got %+v, want a rate", name, s.Metrics)
		}
		m := s.Metrics[0]
		if grown := m.Value * m.Window.Seconds(); name == "any" && (grown < 1999 || grown > 2001) || name == "named" && (grown < 15999 || grown > 16001) {
			t.Errorf("%s: it grew by %v in the window", name, grown)
		}
		if again := p.(patient).enough(result{}); again != 0 {
			t.Errorf("%s: it wants to go on after %s", name, again)
		}
	}
}

func TestExecCannotStart(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	hidden := filepath.Join(dir, "hidden")
	if err := os.Mkdir(hidden, 0o700); err != nil {
		t.Fatal(err)
	}
	write("hidden/check", "#!/bin/sh\n", 0o755)
	root := os.Geteuid() == 0
	tests := []struct {
		name   string
		target Target
		detail string
		root   bool // only root becomes somebody else
	}{
		{"no command", execTarget(), "command is empty", false},
		{"zero byte", execTarget("/bin/echo", "a\x00b"), "zero byte", false},
		{"no such file", execTarget(filepath.Join(dir, "absent")), "no such program", false},
		{"a bare name", execTarget("check_http"), "give its whole path", false},
		{"a relative path", execTarget("./check"), "give its whole path", false},
		{"not executable", execTarget(write("data", "x", 0o644)), "may not run it", false},
		{"a directory", execTarget(dir), "may not run it", false},
		{"no interpreter", execTarget(write("lost", "#!/no/such\n", 0o755)), "interpreter", false},
		{"no first line", execTarget(write("bare", "echo x\n", 0o755)), "#!/bin/sh", false},
		{"a closed directory", execTarget(filepath.Join(hidden, "check")), "nobody (65534:65534) may not run it", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.root && !root {
				need(t, false, "root")
			}
			wantCode(t, ask(t, tt.target), false, core.Internal, tt.detail)
		})
	}
	for name, user := range map[string]string{"there is no user \"no-such": "no-such-user", "want a name or UID:GID": "root:root", "there is no user": "4294967295"} {
		target := execShell("exit 0")
		target.Spec.Exec.User = user
		wantCode(t, ask(t, target), false, core.Internal, name)
	}
	target := execShell("exit 0")
	target.Spec.Way.Mark = 1
	wantCode(t, ask(t, target), false, core.Internal, "source, device and mark")
	target = execShell("exit 0")
	target.Spec.Way.Netns = "no-such-namespace"
	wantCode(t, ask(t, target), false, core.Internal, "no-such-namespace")
}

// TestExecFlood: a command that writes without an end is killed long before its
// time-out; one that only writes a lot is heard out, and what was cut is no number.
func TestExecFlood(t *testing.T) {
	for _, target := range []Target{execTarget("/usr/bin/yes"), execShell("exec /usr/bin/yes >&2")} {
		target.Spec.Timeout = time.Minute
		s := ask(t, target)
		wantCode(t, s, false, core.Internal, "wrote more than 1024 KiB")
		if s.Took > target.Spec.Timeout/2 {
			t.Errorf("it went on for %s", s.Took)
		}
	}
	s := ask(t, execShell(`echo "OK | a=1 b=2"; i=0; while [ $i -lt 4000 ]; do echo "| word$i=$i"; i=$((i+1)); done`))
	wantCode(t, s, true, core.ProcOK, "OK")
	if m, ok := s.Metric("word7"); !ok || m.Value != 7 || len(s.Metrics) != maxPerfMetrics {
		t.Errorf("%d metrics, word7 is %v; want %d and 7", len(s.Metrics), m.Value, maxPerfMetrics)
	}
}

// TestExecCut: half a number at the end of what is kept is another number.
func TestExecCut(t *testing.T) {
	s := ask(t, execShell(`printf 'OK | a=1 %8180s=123456' b`))
	wantCode(t, s, true, core.ProcOK, "OK")
	wantMetrics(t, s, "a")
}

func TestExecNotes(t *testing.T) {
	var notes []string
	ctx := traced(context.Background(), func(step, text string) { notes = append(notes, step+": "+text) })
	target := execShell(`echo "OK - {backend} | load=3;5;9"`)
	target.Spec.Exec.Env = map[string]core.Secret{"PASSWORD": "hunter2"}
	newProber(target).probe(ctx)
	all := strings.Join(notes, "\n")
	for _, want := range []string{
		`command: /bin/sh -c "echo \"OK - web1 | load=3;5;9\""`, "environment: LC_ALL PASSWORD PATH",
		"no_new_privs", "end: exit code 0", "OK - web1", "perfdata: load = 3, warning outside 0 to 5, critical outside 0 to 9", "load 3",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in the notes", want)
		}
	}
	if strings.Contains(all, "hunter2") {
		t.Error("the notes show a secret")
	}
	if t.Failed() {
		t.Log(all)
	}
}

// BenchmarkExec is one run of the smallest command there is.
func BenchmarkExec(b *testing.B) {
	p := newProber(execTarget("/bin/true"))
	b.ReportAllocs()
	for b.Loop() {
		if r := p.probe(b.Context()); !r.ok {
			b.Fatal(r.detail)
		}
	}
}

// BenchmarkExecBare is the same without all that execProbe does.
func BenchmarkExecBare(b *testing.B) {
	for b.Loop() {
		if err := exec.Command("/bin/true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}
