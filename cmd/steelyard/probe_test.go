// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// probed writes a configuration with one backend at addr and these probes, and runs
// `probe test` with args.
func probed(t *testing.T, addr, probes string, args ...string) (out, errs string, code int) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "steelyard.yaml")
	text := fmt.Sprintf(`probes:
%s
services:
  web: {vip: 192.0.2.10, port: 80, probes: [one], backends: {web1: {address: %s, port: %s}}}
`, probes, host, port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code = execute(t.Context(), append([]string{"probe", "test", "-c", file}, args...), &stdout, &stderr)
	return stdout.String(), stderr.String(), code
}

func TestProbeTest(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ok" {
			http.NotFound(w, r)
			return
		}
		_, _ = fmt.Fprint(w, "all is well")
	}))
	t.Cleanup(web.Close)
	up := web.Listener.Addr().String()
	down := probestest.Refused(t).String()
	for _, tt := range []struct {
		name, addr, probe string
		args              []string
		code              int
		want              []string // in their order
		not               []string
	}{
		{"good", up, "{type: http, path: /ok, expect: well}", []string{"web/web1"}, exitOK,
			[]string{"web/web1  one  http health  " + up, "good  L7OK in ", "METRIC", "response_time"}, []string{"GET /ok", "WINDOW"}},
		{"good, every step", up, "{type: http, path: /ok, expect: well}", []string{"web/web1", "-v"}, exitOK,
			[]string{"connect", "GET /ok", "200", "well", "good  L7OK"}, nil},
		{"another status", up, "{type: http, path: /other}", []string{"web/web1"}, exitFailure,
			[]string{"bad  L7STS in ", "404", "try", "ask by hand"}, []string{"METRIC"}},
		{"nobody listens", down, "{type: tcp}", []string{"web/web1"}, exitFailure,
			[]string{"bad  L4CON in ", "refused the connection", "try", "start the service"}, nil},
		{"an address", down, "{type: tcp}", []string{up, "--probe", "one"}, exitOK, []string{"one  tcp health  " + up, "good  L4OK"}, nil},
		{"an agent that is silent", down, "{type: agent, port: 9}", []string{"web/web1"}, exitFailure, []string{"no verdict  AGENTNONE", "nothing follows"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := probed(t, tt.addr, "  one: "+tt.probe, tt.args...)
			if code != tt.code || errs != "" {
				t.Errorf("exit code %d, want %d; stderr %q", code, tt.code, errs)
			}
			rest := out
			for _, w := range tt.want {
				_, after, ok := strings.Cut(rest, w)
				if !ok {
					t.Fatalf("%q is missing, or not where it should be:\n%s", w, out)
				}
				rest = after
			}
			for _, w := range tt.not {
				if strings.Contains(out, w) {
					t.Errorf("%q should not be there:\n%s", w, out)
				}
			}
		})
	}
}

// A wrong community is met with silence, and the sentence has to say so; the
// community itself is never shown.
func TestProbeTestHidesSecrets(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	agent := &probestest.Fleet{Conn: conn, Community: "right", Objects: func() map[string]probestest.Value { return probestest.CPU{User: 1, Idle: 1, Cores: 1}.Objects() }}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = agent.Run(ctx) }()
	_, port, _ := net.SplitHostPort(conn.LocalAddr().String())
	probe := fmt.Sprintf("  one: {type: snmp_cpu, community: hunter2, port: %s, timeout: 300ms}", port)
	for _, format := range []string{"table", "json"} {
		out, _, code := probed(t, "127.0.0.1:80", probe, "web/web1", "-v", "-o", format)
		if code != exitFailure || !strings.Contains(out, "wrong community") || !strings.Contains(out, "SNMPTOUT") {
			t.Errorf("exit code %d, want %d and the likely cause:\n%s", code, exitFailure, out)
		}
		if strings.Contains(out, "hunter2") {
			t.Errorf("the community is shown:\n%s", out)
		}
	}
}

func TestProbeTestJSON(t *testing.T) {
	out, _, code := probed(t, probestest.Refused(t).String(), "  one: {type: tcp}", "web/web1", "-o", "json")
	var a probeTestAnswer
	if err := json.Unmarshal([]byte(out), &a); err != nil || code != exitFailure || len(a.Probes) != 1 {
		t.Fatalf("exit code %d, %v\n%s", code, err, out)
	}
	p := a.Probes[0]
	if p.Backend != "web/web1" || p.OK || p.Code != core.L4Refused || p.Remedy == "" || p.Metrics == nil || len(p.Steps) == 0 {
		t.Errorf("%+v", p)
	}
}

func TestProbeTestRefuses(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{[]string{"web/wbe1"}, []string{`no backend "web/wbe1"`, `did you mean "web/web1"?`}},
		{[]string{"web"}, []string{"SERVICE/BACKEND"}},
		{[]string{"web/web1", "--probe", "two"}, []string{`no probe "two"`, "its probes: one"}},
		{[]string{"10.0.0.1"}, []string{"which probe is to ask 10.0.0.1?", "known: one"}},
		{[]string{"web/web1", "--timeout", "-1s"}, []string{"--timeout"}},
	} {
		out, errs, code := probed(t, "127.0.0.1:80", "  one: {type: tcp}", tt.args...)
		if code != exitUsage || out != "" || slices.ContainsFunc(tt.want, func(w string) bool { return !strings.Contains(errs, w) }) {
			t.Errorf("%v: exit code %d, want %d and %q:\n%s%s", tt.args, code, exitUsage, tt.want, out, errs)
		}
	}
}
