// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/core"
)

// files are a disk for a test: content by path.
type files map[string]string

func (f files) read(p string) ([]byte, error) {
	if s, ok := f[path.Clean(p)]; ok {
		return []byte(s), nil
	}
	return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
}

func (f files) dir(d string) ([]string, error) {
	var names []string
	for p := range f {
		if path.Dir(p) == path.Clean(d) {
			names = append(names, path.Base(p))
		}
	}
	if names == nil {
		return nil, fs.ErrNotExist
	}
	return names, nil
}

// options load /etc/s.yaml from f.
func (f files) options() Options {
	return Options{Path: "/etc/s.yaml", ReadFile: f.read, ReadDir: f.dir, ShippedPolicies: shipped, Hostname: "lb1", KeepView: true}
}

func mustLoad(t *testing.T, o Options) *Config {
	t.Helper()
	cfg, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

const web = `services:
  web:
    vip: 192.0.2.10
    port: 80
    backends:
      web2: {address: 10.0.0.12, port: 8080, weight: 50}
      web1: {address: 10.0.0.11}
`

func TestLoadFillsEverything(t *testing.T) {
	cfg := mustLoad(t, files{"/etc/s.yaml": `
bus:
  listen: localhost:4222
  users:
    zabbix: {password: hunter2, publish: [metric.zabbix.>]}
    all: {password_env: PW}
policies:
  mine: {path: ./mine.wasm}
probes:
  alive: {type: http, path: /healthz, status: ["200-299", "304"]}
  cpu:
    type: snmp_cpu
    version: 3
    user: monitor
    auth: {password_file: secret}
    priv: {protocol: AES256, password: hunter2hunter2}
` + web + `
    policy: mine
    params: {alpha: 0.3, n: 4}
    probes: [alive, cpu]
`, "/etc/mine.wasm": "\x00asm....", "/etc/secret": "correct horse\n"}.with(func(o *Options) { o.Env = []string{"PW=x y"} }))

	want := &Config{
		Path: "/etc/s.yaml", Files: []string{"/etc/s.yaml"}, Node: "lb1", StateDir: "/var/lib/steelyard",
		Control: Control{Socket: "/run/steelyard/control.sock"}, Log: Log{Level: "info", Format: "auto"},
		Kernel: Kernel{HashSeed: 1, OffloadDevices: []string{}},
		Bus: Bus{Listen: "localhost:4222", Servers: []string{}, Users: []BusUser{
			{Name: "all", Password: "x y"}, {Name: "zabbix", Password: "hunter2", Publish: []string{"metric.zabbix.>"}}}},
		Cluster: core.ClusterSpec{Roles: core.AllRoles}, Definitions: DefinitionsFile,
		Policies: []core.PolicySpec{{Name: "mine", Path: "/etc/mine.wasm"}},
		Probes: map[string]core.ProbeSpec{
			"alive": {Name: "alive", Type: "http", Role: core.HealthRole, Interval: 2 * time.Second, Timeout: time.Second, Jitter: 0.1, Rise: 2, Fall: 3,
				HTTP: core.HTTPSpec{Method: "GET", Path: "/healthz", Status: []core.StatusRange{{From: 200, To: 299}, {From: 304, To: 304}}, MaxBody: 65536}},
			"cpu": {Name: "cpu", Type: "snmp_cpu", Role: core.MetricRole, Interval: 5 * time.Second, Timeout: 2 * time.Second, Jitter: 0.1, Port: 161,
				SNMP: core.SNMPSpec{Version: "3", User: "monitor", AuthProtocol: "SHA256", AuthPassword: "correct horse",
					PrivProtocol: "AES256", PrivPassword: "hunter2hunter2"},
				CPU: core.CPUSpec{Source: core.CPUFromUCD, Window: 10 * time.Second}},
		},
		Probing: core.Probing{SuspectRatio: 0.8, SuspectMin: 10, SuspectFor: 5 * time.Minute},
		Services: []core.Service{{
			Name: "web", Traffic: simple("192.0.2.10:80"), OnDown: core.Keep, MinUp: 1,
			Policy: "mine", Params: map[string]float64{"alpha": 0.3, "n": 4}, Every: time.Second, Probes: []string{"alive", "cpu"},
			Shaping: core.Shaping{StaleAfter: 30 * time.Second, Hold: time.Minute, SlowStartMin: 0.1, Floor: 0.05, Ceiling: 1, Step: 0.25, DeadBand: 0.005},
			Backends: []core.Backend{
				{Name: "web1", Addr: netip.MustParseAddrPort("10.0.0.11:80"), Weight: 100},
				{Name: "web2", Addr: netip.MustParseAddrPort("10.0.0.12:8080"), Weight: 50},
			},
		}},
	}
	if d := cmp.Diff(want, cfg, cmpopts.IgnoreUnexported(Config{}), cmpopts.IgnoreFields(Config{}, "Hash", "GroupHash"), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})); d != "" {
		t.Errorf("Load (-want +got):\n%s", d)
	}
}

// simple is what a service with one address and port comes to.
func simple(vip string) core.Traffic {
	t := core.Simple(netip.MustParseAddrPort(vip), core.TCP)
	t.Seed = 1
	return t
}

// with is the options, changed.
func (f files) with(change func(*Options)) Options {
	o := f.options()
	change(&o)
	return o
}

// TestLayers sets one weight in one layer after the other; the latest counts.
func TestLayers(t *testing.T) {
	disk := files{"/etc/s.yaml": web}
	o := disk.options()
	weight := func(want uint32) {
		t.Helper()
		if got := mustLoad(t, o).Services[0].Backends[0].Weight; got != want {
			t.Errorf("weight of web1 = %d, want %d", got, want)
		}
	}
	weight(100)
	disk["/etc/conf.d/10-a.yaml"] = "services: {web: {backends: {web1: {weight: 10}}}}"
	weight(10)
	disk["/etc/conf.d/20-b.yaml"] = "services: {web: {backends: {web1: {weight: 20}}}}"
	weight(20)
	disk["/etc/conf.d/30-not-yaml.bak"] = "{"
	disk["/etc/conf.d/.hidden.yaml"] = "{"
	weight(20)
	o.Env = []string{"STEELYARD_SERVICES__WEB__BACKENDS__WEB1__WEIGHT=30", "STEELYARD_SOCKET=/x", "PATH=/bin"}
	weight(30)
	o.Flags = map[string]string{"services.web.backends.web1.weight": "40"}
	weight(40)
}

func TestEnvironmentNames(t *testing.T) {
	o := files{"/etc/s.yaml": web}.with(func(o *Options) {
		o.Env = []string{
			"STEELYARD_NODE=lb7", "STEELYARD_STATE_DIR=/srv/steelyard",
			"STEELYARD_PROBES__IS_ALIVE__TYPE=tcp", "STEELYARD_SERVICES__WEB__PROBES=is-alive",
			"STEELYARD_SERVICES__WEB__ON_EMPTY=drop", "STEELYARD_SERVICES__WEB__POLICY=free", "STEELYARD_SERVICES__WEB__PARAMS__MIN_CPU=0.5",
		}
	})
	cfg := mustLoad(t, o)
	s := cfg.Services[0]
	got := []any{cfg.Node, cfg.StateDir, s.OnEmpty, s.Probes, s.Params, cfg.Probes["is-alive"].Type}
	want := []any{"lb7", "/srv/steelyard", core.Drop, []string{"is-alive"}, map[string]float64{"min_cpu": 0.5}, "tcp"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestProblemsOutsideFiles(t *testing.T) {
	o := files{"/etc/s.yaml": web, "/etc/conf.d/a.yaml": "log: {level: loud}\n"}.with(func(o *Options) {
		o.Env = []string{
			"STEELYARD_SERVICES__WEB__PROT=80", "STEELYARD_SERVICES__WEB__PORT=http", "STEELYARD_SERVICES__WEB=x",
			"STEELYARD_BUS__USERS__A__PASWORD=hunter2", "STEELYARD_SERVICES__WEB__FORWARDING=hunter3",
		}
		o.Flags = map[string]string{"log.lvel": "debug", "services.web.port": "99999"}
	})
	_, err := Load(o)
	want := `/etc/conf.d/a.yaml:1:14: log.level: "loud" is not one of debug, info, warn, error
environment STEELYARD_BUS__USERS__A__PASWORD: unknown key "pasword" (did you mean "password"?)
environment STEELYARD_SERVICES__WEB: "services.web" is a map of keys, not one value (name one value inside it)
environment STEELYARD_SERVICES__WEB__FORWARDING: "hunter3" is not one of dnat, masquerade, snat, local, dsr, stateless
environment STEELYARD_SERVICES__WEB__PORT: "http" cannot be used here (a port, a range such as 8000-8999, or any)
environment STEELYARD_SERVICES__WEB__PROT: unknown key "prot" (did you mean "port"?)
flag log.lvel: unknown key "lvel" (did you mean "level"?)
flag services.web.port: 99999 is outside 1 to 65535 (a port, a range such as 8000-8999, or any)`
	lines := strings.Split(err.Error(), "\n")
	slices.Sort(lines)
	if d := cmp.Diff(want, strings.Join(lines, "\n")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	tests := []struct {
		name string
		disk files
		want string
	}{
		{"no file", files{}, "/etc/s.yaml: read the file: file does not exist (`steelyard config reference` prints one to begin with)"},
		{"not UTF-8", files{"/etc/s.yaml": "node: \xff"}, "/etc/s.yaml: the file is not UTF-8 text"},
		{"a list", files{"/etc/s.yaml": "- a"}, "/etc/s.yaml:1:1: got a list, want a map of keys"},
		{"a word", files{"/etc/s.yaml": "hello"}, "/etc/s.yaml:1:1: got text, want a map of keys"},
		{"two documents", files{"/etc/s.yaml": "node: a\n---\nnode: b\n"}, "/etc/s.yaml:3:5: a second document in one file (put it into a file of its own in conf.d)"},
		{"deep", files{"/etc/s.yaml": "node: " + strings.Repeat("[", 100)}, "/etc/s.yaml:1:1: nested deeper than 64 levels"},
		{"long line", files{"/etc/s.yaml": "node: " + strings.Repeat("a", 5000)}, "/etc/s.yaml:1:1: the line has more than 4096 bytes"},
		{"tag", files{"/etc/s.yaml": "node: !!binary aGk="}, "/etc/s.yaml:1:7: tags are not used here: text that begins with ! must be in quotes"},
		{"merge key", files{"/etc/s.yaml": "log: &a {level: info}\ncontrol:\n  <<: *a\n"}, "/etc/s.yaml:3:3: merge keys (<<) are not used here; conf.d and defaults do their work"},
		{"unknown alias", files{"/etc/s.yaml": "log: *a\n"}, "/etc/s.yaml:1:6: an alias to nothing: text that begins with * must be in quotes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(tt.disk.options())
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// A file of that name is usual, and the name must not hide what is wrong.
func TestSecretFileNamedPassword(t *testing.T) {
	disk := files{"/etc/s.yaml": "bus: {listen: '127.0.0.1:0', users: {a: {password_file: a.password}}}"}
	_, err := Load(disk.options())
	if err == nil || !strings.Contains(err.Error(), "/etc/a.password (file does not exist)") {
		t.Errorf("got %v, want the cause", err)
	}
}

// What check says is right must not stop the daemon from starting.
func TestBusUsersThatTheBusRefuses(t *testing.T) {
	disk := files{"/etc/s.yaml": "bus:\n  listen: '127.0.0.1:0'\n  users:\n    mine: {password: p}\n    a: {password: p, publish: [foo.>]}\n"}
	o := disk.options()
	o.BusReserved = []string{"mine"}
	o.BusSubject = func(p string) error { return errors.New("no " + p) }
	_, err := Load(o)
	want := "/etc/s.yaml:4:5: mine is a name that steelyard keeps for itself (choose another name)\n/etc/s.yaml:5:32: bus.users.a.publish.0: no foo.>"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestAddressesOfNoHost(t *testing.T) {
	for _, a := range []string{"255.255.255.255", "240.0.0.1", "0.1.2.3", "224.0.0.1", "fe80::1", "::", "ff02::1"} {
		disk := files{"/etc/s.yaml": "services: {web: {vip: '" + a + "', port: 80, backends: {b: {address: '" + a + "', port: 81}}}}"}
		var problems Errors
		if _, err := Load(disk.options()); !errors.As(err, &problems) || len(problems) != 2 {
			t.Errorf("%s: got %v, want 2 errors", a, err)
		}
	}
}

// A file that never ends, or never begins, is refused at once.
func TestFilesThatAreNone(t *testing.T) {
	tests := []struct {
		name, want string
		make       func(path string) error
	}{
		{"fifo", "it is no regular file", func(p string) error { return syscall.Mkfifo(p, 0o600) }},
		{"endless", "it is no regular file", func(p string) error { return os.Symlink("/dev/zero", p) }},
		{"directory", "is a directory", func(p string) error { return os.Symlink("/", p) }},
		{"loop", "too many levels of symbolic links", func(p string) error { return os.Symlink(p, p) }},
	}
	for _, tt := range tests {
		for _, place := range []string{"conf.d/a.yaml", "secret", "policy"} {
			t.Run(tt.name+" "+place, func(t *testing.T) {
				dir := t.TempDir()
				if err := os.Mkdir(filepath.Join(dir, "conf.d"), 0o700); err != nil {
					t.Fatal(err)
				}
				text := "{}"
				switch place {
				case "secret":
					text = "bus: {listen: '127.0.0.1:0', users: {a: {password_file: secret}}}"
				case "policy":
					text = "policies: {mine: {path: policy}}"
				}
				main := filepath.Join(dir, "s.yaml")
				if err := os.WriteFile(main, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := tt.make(filepath.Join(dir, place)); err != nil {
					t.Fatal(err)
				}
				_, err := Load(Options{Path: main, Hostname: "lb1"})
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %s", err, tt.want)
				}
			})
		}
	}
}

func TestAliases(t *testing.T) {
	cfg := mustLoad(t, files{"/etc/s.yaml": `
probes:
  a: &p {type: tcp, interval: 7s}
  b: *p
`}.options())
	if got := cfg.Probes["b"].Interval; got != 7*time.Second {
		t.Errorf("interval by alias = %s, want 7s", got)
	}
}

// TestAliasBomb doubles a list thirty times over.
func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 30; i++ {
		n := string(rune('a'+i/10)) + string(rune('0'+i%10))
		m := string(rune('a'+(i-1)/10)) + string(rune('0'+(i-1)%10))
		b.WriteString(n + ": &" + n + " [*" + m + ", *" + m + ", *" + m + ", *" + m + ", *" + m + ", *" + m + ", *" + m + ", *" + m + "]\n")
	}
	_, err := Load(files{"/etc/s.yaml": b.String()}.options())
	if err == nil || !strings.Contains(err.Error(), "too large or too deep") {
		t.Errorf("got %v", err)
	}
}

func TestHash(t *testing.T) {
	base := files{"/etc/s.yaml": web}
	hash := func(change func(*Options)) string { return mustLoad(t, base.with(change)).Hash }
	first := hash(func(*Options) {})
	same := map[string]func(*Options){
		"again":            func(*Options) {},
		"a default spelt":  func(o *Options) { o.Flags = map[string]string{"log.level": "info"} },
		"a duration spelt": func(o *Options) { o.Flags = map[string]string{"services.web.every": "1000ms"} },
		"without the view": func(o *Options) { o.KeepView = false },
	}
	for name, change := range same {
		if got := hash(change); got != first {
			t.Errorf("%s: hash changed", name)
		}
	}
	if hash(func(o *Options) { o.Flags = map[string]string{"services.web.backends.web1.weight": "99"} }) == first {
		t.Error("a changed weight left the hash as it was")
	}
	secret := func(pw string) string {
		f := files{"/etc/s.yaml": "probes:\n  cpu: {type: snmp_cpu, community: " + pw + "}\n"}
		return mustLoad(t, f.options()).Hash
	}
	if secret("one") != secret("two") {
		t.Error("the secret is in the hash")
	}
}

// TestErrorsAs keeps the type by which commands choose their exit code.
func TestErrorsAs(t *testing.T) {
	_, err := Load(files{"/etc/s.yaml": "nod: a\n"}.options())
	var problems Errors
	if !errors.As(err, &problems) || len(problems) != 1 {
		t.Fatalf("got %v", err)
	}
	want := Problem{File: "/etc/s.yaml", Line: 1, Column: 1, Key: "nod", Message: `unknown key "nod"`, Hint: `did you mean "node"?`, Source: "nod: a", Caret: 1, Width: 3}
	if d := cmp.Diff(want, problems[0]); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
