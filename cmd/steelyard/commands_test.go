// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
)

// A fixedControl answers the same each time.
type fixedControl struct {
	view      core.NodeView
	decisions []core.Decision
	err       error
	flushed   *bool
	asked     int
	onNode    func(n int)
	request   core.OverrideRequest // the latest
	result    core.OverrideResult
	onService func(n int, v *core.ServiceView) // the same, for Service
	cut       int
	inForce   core.InForce
	sessions  []core.SessionsView
	pin       core.PinResult
	pinned    core.PinRequest    // the latest
	forgot    core.SessionFilter // the latest
	reload    core.ReloadResult
	recorded  []core.Recorded
}

func (f *fixedControl) Recordings(_ context.Context, _ []string, _ bool, fn func(core.Recorded) error) error {
	for _, r := range f.recorded {
		if err := fn(r); err != nil {
			return err
		}
	}
	return f.err
}

func (f *fixedControl) Node(context.Context) (core.NodeView, error) {
	f.asked++
	if f.onNode != nil {
		f.onNode(f.asked)
	}
	return f.view, f.err
}

func (f *fixedControl) Decisions(context.Context, string, int) ([]core.Decision, error) {
	return f.decisions, f.err
}

func (f *fixedControl) Service(_ context.Context, name string) (core.ServiceView, error) {
	f.asked++
	v, _ := pick(f.view, name)
	s := v.Services[0]
	if f.onService != nil {
		f.onService(f.asked, &s)
	}
	return s, f.err
}

func (f *fixedControl) Override(_ context.Context, _ core.BackendID, r core.OverrideRequest) (core.OverrideResult, error) {
	f.request = r
	return f.result, f.err
}

func (f *fixedControl) Cut(context.Context, core.BackendID) (int, error) { return f.cut, f.err }

func (f *fixedControl) InForce(context.Context) (core.InForce, error) { return f.inForce, f.err }

func (f *fixedControl) Sessions(context.Context, admin.SessionsQuery) ([]core.SessionsView, error) {
	return f.sessions, f.err
}

func (f *fixedControl) Pin(_ context.Context, _ string, r core.PinRequest) (core.PinResult, error) {
	f.pinned = r
	return f.pin, f.err
}

func (f *fixedControl) Forget(_ context.Context, _ string, filter core.SessionFilter, _ string) (int, error) {
	f.forgot = filter
	return 3, f.err
}

func (f *fixedControl) Reload(context.Context) (core.ReloadResult, error) { return f.reload, f.err }

func (f *fixedControl) Stop(_ context.Context, flush bool) error {
	f.flushed = &flush
	return f.err
}

// run executes a command line with a control, or with the real client if it is
// nil, and returns what it printed and its exit code.
func run(t *testing.T, ctx context.Context, c control, line ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	g := newGlobals(&out, &errs)
	g.getenv = func(string) string { return "" }
	if c != nil {
		g.dial = func(string) control { return c }
	}
	root := &cobra.Command{Use: "steelyard", SilenceErrors: true, SilenceUsage: true}
	root.SetFlagErrorFunc(flagError)
	root.SetOut(&out)
	g.addFlags(root.PersistentFlags())
	root.AddCommand(newCheckCommand(g), newConfigCommand(g), newShowCommand(g), newExplainCommand(g), newTraceCommand(g),
		newStatusCommand(g), newReloadCommand(g), newStopCommand(g), newVersionCommand(g), newBackendCommand(g), newSessionCommand(g), newPlanCommand(g), newProbeCommand(g))
	root.SetArgs(line)
	code = g.fail(root.ExecuteContext(ctx))
	return out.String(), errs.String(), code
}

const exampleWeb = "../../examples/01-web/steelyard.yaml"

func TestCommands(t *testing.T) {
	needPlainWorker(t)
	good := func() *fixedControl {
		return &fixedControl{view: sampleView(), decisions: []core.Decision{sampleDecision()}}
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("nod: a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unread, params := filepath.Join(t.TempDir(), "unread.yaml"), filepath.Join(t.TempDir(), "params.yaml")
	const service = "services: {web: {vip: 192.0.2.1, port: 80, backends: {a: {address: 10.0.0.1}}, "
	module, err := filepath.Abs("../../plugins/testdata/count.wasm")
	if err := errors.Join(err,
		os.WriteFile(unread, []byte(service+"probes: [cpu]}}\nprobes: {cpu: {type: snmp_cpu, community_file: ./no-such-community}}\n"), 0o600),
		os.WriteFile(params, []byte(service+"policy: count, params: {step: 2}}}\npolicies: {count: {path: "+module+"}}\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	refused := func(code string) *fixedControl {
		return &fixedControl{err: &admin.Error{Code: code, Message: "a.yaml:3:10: x\na.yaml:4:1: y"}}
	}
	drained := func(o *core.Override) *fixedControl {
		return &fixedControl{result: core.OverrideResult{Backend: "web/web1", Override: o, Decision: 8, Outcome: core.Applied}}
	}
	warned := drained(&core.Override{Kind: core.OverrideDrain, Author: "alice"})
	warned.result.Warning = "in force, but a restart of the daemon will forget it: no space left on device"
	late := drained(&core.Override{Kind: core.OverrideWeight, Weight: 20, Author: "alice"})
	late.result.Outcome, late.result.NotInForce = core.Unchanged, "down: alive L4CON: connection refused"
	kept := drained(nil)
	kept.result.NotInForce = "it is drained: agent: maint"
	changed := good()
	changed.reload = core.ReloadResult{
		Changes: []core.ConfigChange{
			{Kind: core.KindService, Name: "api", Action: core.ActionAdded}, {Kind: core.KindService, Name: "old", Action: core.ActionRemoved},
			{Kind: core.KindService, Name: "dns", Action: core.ActionChanged}, {Kind: core.KindService, Name: "web", Action: core.ActionChanged},
			{Kind: core.KindProbe, Name: "alive", Action: core.ActionChanged}, {Kind: core.KindSetting, Name: "log.level", Action: core.ActionChanged},
		},
		Dropped: []core.Dropped{{Service: "old", Backend: "a", Command: "drain by alice: kernel update", Why: "old/a is not in the configuration any more"}},
	}
	tests := []struct {
		name    string
		control *fixedControl
		line    string
		code    int
		out     string // part of stdout
		err     string // part of stderr
	}{
		{"check", nil, "check -c " + exampleWeb, 0, "ok: 2 services, 4 backends, 2 probes", ""},
		{"check, quiet", nil, "check -q -c " + exampleWeb, 0, "", ""},
		{"check, wrong", nil, "check -c " + bad, 3, "", "bad.yaml:1:1: error: unknown key \"nod\"\n    1 | nod: a\n      | ^^^\n      = did you mean \"node\"?"},
		{"check, wrong, JSON", nil, "check -o json -c " + bad, 3, `"ok": false`, ""},
		{"check, no file", nil, "check -c /nonexistent.yaml", 3, "", "no such file or directory\n      = `steelyard config reference` prints one"},
		{"check, no secret", nil, "check -c " + unread, 3, "", "no-such-community (no such file or directory)"},
		{"check, a policy with parameters", nil, "check -c " + params, 0, "params.yaml: ok: 1 service, 1 backend, 0 probes\n", ""},
		{"check, a policy with parameters, JSON", nil, "check -o json -c " + params, 0, `"ok": true`, ""},
		{"check, a flag over the file", nil, "check -c " + exampleWeb + " --set log.level=loud", 3, "", "flag log.level: error:"},
		{"check, JSON", nil, "check -o json -c " + exampleWeb, 0, `"backends": 4`, ""},
		{"probe test, no such backend", nil, "probe test web/web9 -c " + exampleWeb, 64, "", `there is no backend "web/web9" in the configuration`},
		{"probe test, no such probe", nil, "probe test web/web1 -p alife -c " + exampleWeb, 64, "", "= its probes: alive"},
		{"probe test, an address without a probe", nil, "probe test 127.0.0.1 -c " + exampleWeb, 64, "", "Name it with --probe"},
		{"probe test, an address without a port", nil, "probe test 127.0.0.1 -p alive -c " + exampleWeb, 64, "", "probe alive has no port of its own\n  = name one with the address: 127.0.0.1:80"},
		{"schema", nil, "config schema", 0, `"$schema"`, ""},
		{"reference", nil, "config reference", 0, "state_dir: /var/lib/steelyard", ""},
		{"view", nil, "config view -c " + exampleWeb, 0, "\n    policy: weighted\n", ""},
		{"view, origin", nil, "config view --origin -c " + exampleWeb, 0, "steelyard.yaml:24\n", ""},
		{"view, JSON", nil, "config view -o json -c " + exampleWeb, 0, `"forwarding": "masquerade"`, ""},
		{"show", good(), "show", 0, "web1     10.0.0.11:8080", ""},
		{"show one", good(), "show dns6", 0, "dns6  [2001:db8::53]:53/udp", ""},
		{"show none", good(), "show wbe", 1, "", "no service \"wbe\"\n  = known: web, dns6, empty"},
		{"show, a backend", good(), "show web/web1", 1, "", "= `steelyard explain web/web1` shows one backend"},
		{"show, a time apart from its flag", good(), "show --watch 1s", 1, "", "= write --watch=1s"},
		{"show, a time without a flag", good(), "show 1s", 1, "", "= known: web"},
		{"show, JSON", good(), "show -o json", 0, `"cpu_ratio": 0.708`, ""},
		{"show, odd format", good(), "show -o xml", 64, "", `output "xml": want table or json`},
		{"show, too many words", good(), "show a b", 64, "", "usage: steelyard show"},
		{"show, unknown flag", good(), "show --frob", 64, "", "unknown flag: --frob\n  = steelyard show --help lists the flags"},
		{"show, watch too fast", good(), "show --watch=1ms", 64, "", "want at least 100ms"},
		{"explain", good(), "explain web/web1", 0, "×0.600", ""},
		{"explain, a probe that fails", good(), "explain web/web1", 0, "\n  alive  health  L7OK    0 s\n  cpu    metric  SNMPOK  0 s\n", ""},
		{"explain a service", good(), "explain web", 0, "SHAPED BY", ""},
		{"explain, JSON", good(), "explain web/web1 -o json", 0, `"policy_share": 0.2`, ""},
		{"explain, no backend", good(), "explain web/web9", 1, "", "it has web1, web2, web3"},
		{"explain, no service", good(), "explain nope/web9", 1, "", "known: web, dns6, empty"},
		{"explain, odd name", good(), "explain web/", 64, "", "want SERVICE or SERVICE/BACKEND"},
		{"explain, too early", &fixedControl{view: sampleView()}, "explain web", 1, "", "nothing was decided yet"},
		{"drain", drained(&core.Override{Kind: core.OverrideDrain, Author: "alice", Since: noon, Until: noon.Add(30 * time.Minute)}), "backend drain web/web1 --for 30m", 0, "web/web1: drain, alice, 30 min left\n", ""},
		{"drain, JSON", drained(&core.Override{Kind: core.OverrideDrain, Author: "alice"}), "backend drain web/web1 -o json", 0, `"outcome": "applied"`, ""},
		{"drain, with a warning", warned, "backend drain web/web1", 0, "web/web1: drain, alice\n", "steelyard: warning: in force, but"},
		{"weight", drained(&core.Override{Kind: core.OverrideWeight, Weight: 20, Author: "alice", Reason: "try it"}), "backend weight web/web1 20", 0, "web/web1: weight 20, alice: try it\n", ""},
		{"weight, too heavy", good(), "backend weight web/web1 1001", 64, "", `weight "1001": want 0 to 1000`},
		{"weight, no number", good(), "backend weight web/web1 many", 64, "", "want 0 to 1000"},
		{"weight, not in force", late, "backend weight web/web1 20", 7, "web/web1: weight 20, alice\n", "steelyard: web/web1: it is set, but not in force yet: down: alive L4CON: connection refused\n"},
		{"weight, not in force, JSON", late, "backend weight web/web1 20 -o json", 7, `"not_in_force": "down: alive`, ""},
		{"drain, not in force", late, "backend drain web/web1 --wait", 7, "alice\n", "not in force yet: down"},
		{"pin, not in force", &fixedControl{pin: core.PinResult{Service: "web", NotInForce: "no memory"}}, "session pin web 192.0.2.7 web1", 7, "web 192.0.2.7: ", "not in force yet: no memory"},
		{"ready", drained(nil), "backend ready web/web1", 0, "web/web1: ready already: nothing was set by command\n", ""},
		{"ready, drained by another", kept, "backend ready web/web1", 7, "web/web1: nothing was set by command\n", "steelyard: web/web1: it is drained: agent: maint\n"},
		{"ready takes no time", good(), "backend ready web/web1 --for 3m", 64, "", "unknown flag: --for"},
		{"drain, odd name", good(), "backend drain web", 64, "", `backend "web": want SERVICE/BACKEND`},
		{"drain, no unit", good(), "backend drain web/web1 --for 30", 64, "", "= a time has a unit, as in 30s, 30m or 2h"},
		{"drain, back in time", good(), "backend drain web/web1 --for -3m", 64, "", "want a time above 0"},
		{"a deadline without a wait", good(), "backend drain web/web1 --deadline 3m", 64, "", "--deadline is for --wait"},
		{"a cut without a deadline", good(), "backend drain web/web1 --wait --cut", 64, "", "--cut needs --wait and a --deadline"},
		{"drain, no such backend", &fixedControl{err: &admin.Error{Code: admin.CodeUnknownBackend, Message: "service web has no backend \"web9\"", Hint: "did you mean \"web1\"?"}}, "backend drain web/web9", 1, "", "= did you mean"},
		{"backend list", &fixedControl{view: commandView()}, "backend list", 0, "web/heavy    weight 20  up", ""},
		{"backend list, JSON", &fixedControl{view: commandView()}, "backend list -o json", 0, `"reason": "kernel update"`, ""},
		{"backend list, nothing", good(), "backend list", 0, "no backend was changed by command\n", ""},
		{"backend list, nothing, JSON", good(), "backend list -o json", 0, `"overrides": []`, ""},
		{"status", good(), "status", 0, "inet steelyard", ""},
		{"status, JSON", good(), "status -o json", 0, `"commit_p50_seconds"`, ""},
		{"reload", good(), "reload", 0, "reloaded: nothing changed\n", ""},
		{"reload, with changes", changed, "reload", 0, "reloaded: 1 service added (api), 1 removed (old), 2 changed (dns, web); probe alive changed; log.level changed, which takes a restart\n", "steelyard: warning: drain by alice: kernel update dropped: old/a is not in the configuration any more\n"},
		{"reload, JSON", changed, "reload -o json", 0, `"dropped_commands": [`, ""},
		{"sessions of a client", good(), "show sessions web 192.0.2.7", 0, "no service has persistence or pins", ""},
		{"sessions of two clients", good(), "show sessions web 192.0.2.7 --client 192.0.2.8", 64, "", "want CLIENT or --client, not both"},
		{"sessions of no client", good(), "show sessions web web1", 64, "", `client "web1": want an address`},
		{"reload refused", &fixedControl{err: errors.New("a.yaml:1:1: x\na.yaml:2:1: y")}, "reload", 1, "", "steelyard: a.yaml:1:1: x\nsteelyard: a.yaml:2:1: y\n"},
		{"reload, a wrong configuration", refused(admin.CodeInvalid), "reload", 3, "", "a.yaml:4:1: y"},
		{"reload, refused by a policy", refused(admin.CodeReloadFailed), "reload", 1, "", "a.yaml:4:1: y"},
		{"stop", good(), "stop", 0, "the rules stay in force", ""},
		{"stop, flush", good(), "stop --flush", 0, "the rules are removed", ""},
		{"stop, nobody there", nil, "stop --socket /nonexistent/control.sock", 4, "", "= start it with"},
		{"stop, flush, nobody there", nil, "stop --flush --socket /nonexistent/control.sock", 4, "", "`nft delete table inet steelyard` removes them"},
		{"version", good(), "version", 0, "steelyard " + version, ""},
		{"version, JSON", good(), "version -o json", 0, `"go":`, ""},
		{"nobody there", nil, "show --socket /nonexistent/control.sock", 4, "", "= start it with"},
		{"nobody there, JSON", nil, "status -o json --socket /nonexistent/control.sock", 4, `"exit_code": 4`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c control
			if tt.control != nil {
				c = tt.control
			}
			out, errs, code := run(t, t.Context(), c, strings.Fields(tt.line)...)
			if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.err) {
				t.Errorf("%s: exit code %d, want %d\nstdout, want %q in it:\n%s\nstderr, want %q in it:\n%s", tt.line, code, tt.code, tt.out, out, tt.err, errs)
			}
			if tt.err == "" && errs != "" {
				t.Errorf("stderr: %s", errs)
			}
			if strings.Contains(tt.line, "json") && !json.Valid([]byte(out)) {
				t.Errorf("not JSON:\n%s", out)
			}
			if strings.Contains(out+errs, "\x1b") {
				t.Error("colour without a terminal")
			}
		})
	}
}

func TestStopPassesFlush(t *testing.T) {
	for _, flush := range []bool{false, true} {
		c := &fixedControl{}
		line := []string{"stop"}
		if flush {
			line = append(line, "--flush")
		}
		run(t, t.Context(), c, line...)
		if c.flushed == nil || *c.flushed != flush {
			t.Errorf("flush = %v, want %t", c.flushed, flush)
		}
	}
}

// TestWatchRepeats ends the watch at its third look, as Ctrl-C would.
func TestWatchRepeats(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := &fixedControl{view: sampleView(), onNode: func(n int) {
		if n == 3 {
			cancel()
		}
	}}
	out, errs, code := run(t, ctx, c, "show", "--watch=100ms", "-o", "json")
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d, stderr %s", code, errs)
	}
	if n := strings.Count(out, "\n"); n != 3 {
		t.Errorf("%d lines of JSON, want 3", n)
	}
}

// TestPermission asks a socket that is there and closed to us. Nothing is closed
// to root, so a copy of the test binary, which is steelyard when it is given a
// command, asks as nobody.
func TestPermission(t *testing.T) {
	const nobody = 65534
	dir, err := os.MkdirTemp("", "steelyard-test-") // t.TempDir is closed to nobody
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, exe := filepath.Join(dir, "s"), filepath.Join(dir, "steelyard")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	binary, err := os.ReadFile("/proc/self/exe")
	if err := errors.Join(err, os.WriteFile(exe, binary, 0o755), os.Chmod(dir, 0o755), os.Chmod(socket, 0)); err != nil {
		t.Fatal(err)
	}
	file, closed := filepath.Join(dir, "c.yaml"), filepath.Join(dir, "closed.yaml")
	text := []byte("control: {socket: " + socket + "}\nstate_dir: " + dir + "\n")
	if err := errors.Join(os.WriteFile(file, text, 0o644), os.WriteFile(closed, text, 0)); err != nil {
		t.Fatal(err)
	}
	nowhere := filepath.Join(dir, "nowhere")
	for _, tt := range []struct {
		line []string
		code int
		want []string // what it says: the cause, and the remedy
	}{
		{[]string{"show", "--socket", socket}, exitPermission, []string{"permission denied", "= run as root, or as a member of the group"}},
		{[]string{"backend", "drain", "web/web1", "--socket", socket}, exitPermission, []string{"permission denied", "= run as root, or as a member of the group"}},
		{[]string{"plan", "-c", file, "--socket", socket}, exitPermission, []string{"permission denied", "= run as root, or as a member of the group"}},
		{[]string{"plan", "-c", file, "--socket", nowhere}, exitPermission, []string{"no daemon answers", "not permitted", "= start the daemon, or run this as root"}},
		{[]string{"show", "--socket", nowhere}, exitUnreachable, []string{"not running", "= start it with"}},
		{[]string{"run", "-c", file}, exitPermission, []string{"not permitted", "= run it as root"}},
		{[]string{"check", "-c", file}, exitOK, []string{"ok"}},
		{[]string{"check", "-c", closed}, exitConfig, []string{closed, "permission denied"}},
	} {
		cmd := exec.Command(exe, tt.line...)
		cmd.Dir, cmd.Env = dir, []string{}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case err == nil || errors.As(err, &exit):
			if code := cmd.ProcessState.ExitCode(); code != tt.code {
				t.Errorf("%v: exit code %d, want %d:\n%s", tt.line, code, tt.code, out)
			}
			for _, want := range tt.want {
				if !bytes.Contains(out, []byte(want)) {
					t.Errorf("%v: it does not say %q:\n%s", tt.line, want, out)
				}
			}
		case os.Getenv("CI") == "":
			t.Skipf("only root can be nobody: %v", err)
		default:
			t.Fatalf("%v: %v", tt.line, err)
		}
	}
}
