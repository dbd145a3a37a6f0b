// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"strings"
	"testing"
)

// TestProbeWarnings: what may be meant, and is probably not, with its place.
func TestProbeWarnings(t *testing.T) {
	const service = "services: {web: {vip: 192.0.2.10, port: 80, %, backends: {web1: {address: 10.0.0.11}, web2: {address: 10.0.0.12}}}}\n"
	tests := []struct {
		name, top, web string
		warned         string // a part of what is said; empty: nothing is
	}{
		{"nothing", "probes: {a: {type: tcp}}", "probes: [a]", ""},
		{"least-cpu without a cpu", "probes: {a: {type: tcp}}", "probes: [a], policy: least-cpu",
			"2:66: policy least-cpu of service web goes by cpu, and no probe of the service supplies it: the configured weights would hold (add a probe of type snmp_cpu, or a metric named cpu to one of another type)"},
		{"as a shadow", "probes: {a: {type: tcp}}", "probes: [a], shadow: least-cpu", "shadow least-cpu of service web goes by cpu"},
		{"with one", "probes: {a: {type: snmp_cpu, community: x}}", "probes: [a], policy: least-cpu", ""},
		{"with one by name", "probes: {a: {type: prometheus, metrics: {cpu: {series: x, unit: ratio}}}}", "probes: [a], policy: least-cpu", ""},
		{"with one of another name", "probes: {a: {type: prometheus, metrics: {load: {series: x}}}}", "probes: [a], policy: least-cpu", "goes by cpu"},
		{"which a monitor may supply", "bus: {servers: ['nats://192.0.2.53:4222']}", "policy: least-cpu", ""},
		{"least-response by a connection", "probes: {a: {type: tcp}}", "probes: [a], policy: least-response", "goes by response time, and no probe"},
		{"least-response by a dialogue", "probes: {a: {type: tcp, expect: x}}", "probes: [a], policy: least-response", ""},
		{"least-response by http", "probes: {a: {type: http}}", "probes: [a], policy: least-response", ""},
		{"an end of line in single quotes", `probes: {a: {type: tcp, send: 'PING\r\n', expect: PONG}}`, "probes: [a]",
			`probes.a.send: \r\n is sent as these four characters, not as the end of a line (write it in double quotes)`},
		{"the same in a script", `probes: {a: {type: tcp, script: [{expect: x}, {send: 'QUIT\n'}]}}`, "probes: [a]", `probes.a.script.1.send: \n is sent as these two characters`},
		{"of an agent", `probes: {a: {type: agent, port: 9, send: 'status\n'}}`, "probes: [a]", `\n is sent as these two characters`},
		{"an end of line", `probes: {a: {type: tcp, send: "PING\r\n", expect: PONG}}`, "probes: [a]", ""},
		{"no such program", "probes: {a: {type: exec, command: [/no/such]}}", "probes: [a]",
			"1:36: probes.a.command.0: /no/such cannot be run on this machine: not there (every run would end with INTERNAL; is its package installed?)"},
		{"a word in braces", "probes: {a: {type: exec, command: [/bin/true, '{adress}', '{print $1}']}}", "probes: [a]", `{adress} is handed to the command as it stands (did you mean "address"?)`},
		{"no such user", "probes: {a: {type: exec, command: [/bin/true], user: ghost}}", "probes: [a]", `this machine has no user "ghost"`},
		{"root", "probes: {a: {type: exec, command: [/bin/true], user: '0:0'}}", "probes: [a]", "the command runs as root"},
		{"a number for a user", "probes: {a: {type: exec, command: [/bin/true], user: '1000:1000'}}", "probes: [a]", ""},
		{"critical beside all", "probes: {a: {type: tcp}}", "probes: [a], health: {critical: a}", "critical changes nothing in service web: need is all"},
		{"critical beside any", "probes: {a: {type: tcp}}", "probes: [a], health: {critical: a, need: any}", ""},
		{"passive of udp", "", "protocol: udp, passive: {unanswered: 3}", "passive looks at TCP connections, and service web has none"},
		{"passive of both", "", "protocol: [tcp, udp], passive: {unanswered: 3}", ""},
		{"resets of a range of ports", "", "port: 8000-8010, passive: {resets: 3}", "who asks for some that nobody serves is refused"},
		{"unanswered of a range of ports", "", "port: 8000-8010, passive: {unanswered: 3}", ""},
		{"a window that is over", "maintenance: {m: {backends: web/web1, start: 2027-01-01T00:00:00Z, end: 2027-01-15T11:59:59Z}}", "min_up: 1", "the window m is over (take it out)"},
		{"a window that is not", "maintenance: {m: {backends: web/web1, start: 2027-01-01T00:00:00Z, end: 2027-01-15T12:00:01Z}}", "min_up: 1", ""},
		{"a window for all", "maintenance: {m: {backends: web/*, from: '02:00', to: '03:00'}}", "min_up: 1", "in this window service web has no backend left"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(service, "%", tt.web, 1)
			if strings.HasPrefix(tt.web, "port: ") {
				text = strings.Replace(text, "port: 80, ", "", 1)
			}
			o := elsewhere(files{"/etc/s.yaml": tt.top + "\n" + text})
			o.Executable = func(path string) error {
				if path == "/no/such" {
					return errors.New("not there")
				}
				return nil
			}
			o.User = func(name string) error {
				if name == "ghost" {
					return errors.New("not there")
				}
				return nil
			}
			got := mustLoad(t, o).Warnings.Error()
			if !strings.Contains(got, tt.warned) || (got == "") != (tt.warned == "") {
				t.Errorf("warning %q, want %q", got, tt.warned)
			}
		})
	}
}

// TestProgramsOfThisMachine asks the real machine.
func TestProgramsOfThisMachine(t *testing.T) {
	for program, want := range map[string]string{"/bin/true": "", "/bin/no-such-program": "no such file or directory", "/bin": "is a directory", "/etc/passwd": "it is not executable"} {
		disk := files{"/etc/s.yaml": "probes: {a: {type: exec, command: [" + program + "], user: nobody}}\n" + web}
		got := mustLoad(t, disk.options()).Warnings.Error()
		if !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: warning %q, want %q", program, got, want)
		}
	}
}

// TestPortsOfProbes: a probe of a backend that keeps the client's port needs one of
// its own, unless it asks none.
func TestPortsOfProbes(t *testing.T) {
	tests := map[string]bool{ // whether it needs a port
		"{type: tcp}": true, "{type: http}": true, "{type: dns}": true, "{type: grpc}": true, "{type: udp}": true, "{type: response_time}": true,
		"{type: prometheus, metrics: {load: {series: x}}}": true, "{type: exec, command: [/bin/true, '{port}']}": true,
		"{type: exec, command: [/bin/true, '{address}']}": false, "{type: ping}": false, "{type: snmp_cpu, community: x}": false,
		"{type: snmp, community: x, metrics: {load: {oid: 1.3.6}}}": false, "{type: agent, port: 9777}": false, "{type: dns, port: 53}": false,
	}
	for probe, needs := range tests {
		_, err := Load(elsewhere(files{"/etc/s.yaml": "probes: {a: " + probe + "}\nservices: {web: {vip: 192.0.2.10, port: any, probes: [a], backends: {one: {address: 10.0.0.11}}}}"}))
		if got := err != nil && strings.Contains(err.Error(), "probe a asks the port of the backend"); got != needs || (err != nil) != needs {
			t.Errorf("%s: %v, want an error: %t", probe, err, needs)
		}
	}
}

// TestSwitchedOffHealth: what a rule comes to where it is left out or switched off.
func TestSwitchedOffHealth(t *testing.T) {
	cfg := mustLoad(t, files{"/etc/s.yaml": "probes: {a: {type: tcp}}\nprobing: {suspect_ratio: 0, suspect_min: 5}\n" + web +
		"    probes: [a]\n    health: {flap_window: 5m}\n    passive: {eject: 5s}\n"}.options())
	if s := cfg.Services[0]; s.Health.Need != 0 || s.Health.FlapWindow != 0 || s.Passive.Active() || s.Passive.Eject != 0 {
		t.Errorf("health %+v, passive %+v", s.Health, s.Passive)
	}
	if cfg.Probing.SuspectMin != 0 || cfg.Probing.SuspectFor != 0 {
		t.Errorf("probing %+v", cfg.Probing)
	}
	on := mustLoad(t, files{"/etc/s.yaml": "probes: {a: {type: tcp}}\n" + web + "    probes: [a]\n    health: {flap_limit: 5}\n    passive: {unanswered: 5}\n"}.options()).Services[0]
	if h := on.Health; h.FlapWindow.Minutes() != 10 || h.FlapHold.Minutes() != 1 || h.FlapMax.Minutes() != 30 {
		t.Errorf("flap rule %+v", h)
	}
	if p := on.Passive; p.Eject.Seconds() != 30 || p.Max.Minutes() != 5 || p.MaxRatio != 0.1 || p.Resets != 0 {
		t.Errorf("passive rule %+v", p)
	}
}
