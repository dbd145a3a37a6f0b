// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
)

// A takingControl takes metrics, but for those of the backend "refused".
type takingControl struct {
	fixedControl
	source string
	got    []admin.PushMetric
	denied string
}

func (c *takingControl) PushMetrics(_ context.Context, source string, list []admin.PushMetric) (admin.MetricsAnswer, error) {
	a := admin.MetricsAnswer{Warning: c.denied}
	c.source = source
	for i, m := range list {
		if m.Target == "refused" {
			a.Refused = append(a.Refused, admin.RefusedMetric{Index: i, Error: "its unit is wrong"})
			continue
		}
		c.got = append(c.got, m)
		a.Taken++
	}
	return a, nil
}

// runAll runs a command line with all commands there are.
func runAll(t *testing.T, c control, stdin string, line ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	g := newGlobals(&out, &errs)
	g.getenv = func(string) string { return "" }
	if c != nil {
		g.dial = func(string) control { return c }
	}
	root := newRootCommand(g)
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetIn(strings.NewReader(stdin))
	root.SetArgs(line)
	code = g.fail(root.ExecuteContext(t.Context()))
	return out.String(), errs.String(), code
}

func TestMetricPush(t *testing.T) {
	c := &takingControl{}
	out, errs, code := runAll(t, c, "", "metric", "push", "web/web1", "queue", "12", "--unit", "count", "--window", "60s", "--source", "cron")
	if code != 0 || out != "" || errs != "" || c.source != "cron" {
		t.Errorf("code %d, %q, %q, source %q", code, out, errs, c.source)
	}
	if d := cmp.Diff([]admin.PushMetric{{Target: "web/web1", Name: "queue", Value: 12, Unit: "count", Window: 60}}, c.got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if _, errs, code := runAll(t, c, "", "metric", "push", "refused", "queue", "12"); code != exitFailure || !strings.Contains(errs, "its unit is wrong") {
		t.Errorf("a refusal: code %d, %q", code, errs)
	}
}

// What did not get beyond the daemon is taken, and said once.
func TestMetricPushWarns(t *testing.T) {
	c := &takingControl{denied: "known here only"}
	for _, line := range []string{"web/web1 queue 12", "-"} {
		_, errs, code := runAll(t, c, "web1 queue 1\nweb2 queue 2\n", append([]string{"metric", "push"}, strings.Fields(line)...)...)
		if code != 0 || strings.Count(errs, "known here only") != 1 {
			t.Errorf("%s: code %d, %q", line, code, errs)
		}
	}
	out, errs, code := runAll(t, c, "web1 queue 1\n", "metric", "push", "-", "-o", "json")
	if want := "\"warning\": \"known here only\""; code != 0 || errs != "" || !strings.Contains(out, want) {
		t.Errorf("JSON: code %d, %q, %q, want %q in it", code, out, errs, want)
	}
}

const metricLines = `# of a script
web/web1 queue 12
web2 queue -0.5 count

web3 queue
web4 queue many
{"target": "web5", "name": "queue", "value": 0, "window_seconds": 5}
{"target": "web6", "name": "queue"}
{"target": "web7", "nam": "queue", "value": 1}
refused queue 1
`

func TestMetricPushLines(t *testing.T) {
	c := &takingControl{}
	out, errs, code := runAll(t, c, metricLines, "metric", "push", "-", "--unit", "jobs")
	if code != exitFailure || out != "" || !strings.Contains(errs, "5 of 8 metrics refused") {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	want := []admin.PushMetric{{Target: "web/web1", Name: "queue", Value: 12, Unit: "jobs"}, {Target: "web2", Name: "queue", Value: -0.5, Unit: "count"}, {Target: "web5", Name: "queue", Unit: "jobs", Window: 5}}
	if d := cmp.Diff(want, c.got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, w := range []string{"line 5: got 2 words, want TARGET NAME VALUE [UNIT]", `line 6: value "many" is no number`, "line 8: value: is missing", `line 9: not a metric in JSON: json: unknown field "nam"`, "line 10: its unit is wrong"} {
		if !strings.Contains(errs, w) {
			t.Errorf("not said: %s\n%s", w, errs)
		}
	}
	out, errs, code = runAll(t, &takingControl{}, metricLines, "metric", "push", "-", "-o", "json")
	var r metricResult
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != exitFailure || errs != "" || r.Taken != 3 || len(r.Refused) != 5 || r.Refused[4].Line != 10 {
		t.Errorf("JSON: code %d, %q, %+v, %v", code, errs, r, err)
	}
}

func TestMetricPushUsage(t *testing.T) {
	for line, want := range map[string]string{
		"web1 cpu":                                     "got 2 arguments, want TARGET NAME VALUE, or - for standard input",
		"web1 cpu NaN":                                 `value "NaN" is no number`,
		"web1 cpu -5":                                  "write -- before a value below zero",
		"web1 cpu 1 --window=-1s":                      "--window=-1s: want 0 or more",
		"web1 cpu 1 --user a":                          "the control socket has none",
		"web1 cpu 1 --token-file a":                    "--token-file is for --url",
		"web1 cpu 1 --url x":                           "want an address such as https://",
		"web1 cpu 1 --url https://a:b@c":               "use --user and --password-file",
		"web1 cpu 1 --url https://a --server x":        "keep one",
		"web1 cpu 1 --url https://a --source x":        "the name of the monitor is that of its user",
		"web1 cpu 1 --server nats://a --password-file": "flag needs an argument",
		"web1 cpu 1 --server nats://a --user u --creds c --nkey SU": "more than one of user, nkey and credentials",
	} {
		if _, errs, code := runAll(t, &takingControl{}, "", append([]string{"metric", "push"}, strings.Fields(line)...)...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: code %d, %q; want %q", line, code, errs, want)
		}
	}
	if _, _, code := runAll(t, &takingControl{}, "", "metric", "push", "--", "web1", "offset", "-5"); code != 0 {
		t.Errorf("a value below zero: code %d", code)
	}
}

// TestMetricPushNATS publishes where no daemon is, and one hears it; the server holds
// the user to its own name.
func TestMetricPushNATS(t *testing.T) {
	port, dir := bustest.FreePort(t), t.TempDir()
	snippet, _, code := runAll(t, nil, "", "bus", "permissions", "--role", "monitor", "--node", "zabbix")
	if code != 0 {
		t.Fatal(snippet)
	}
	conf := snippet + "authorization { users: [ {user: lb, password: secret}, {user: zabbix, password: hunter2, permissions: $MAY_ZABBIX} ] }\n"
	password := write(t, dir, "password", "hunter2\n")
	bustest.StartServer(t, port, nil, "-c", write(t, dir, "nats.conf", conf))
	server := fmt.Sprintf("nats://127.0.0.1:%d", port)
	b := bustest.StartWith(t, bus.Options{Node: "lb1", Servers: []string{server}, Login: bus.Login{User: "lb", Password: "secret"}})
	heard := make(chan core.Sample, 10)
	cancel, err := b.SubscribeSamples(func(s core.Sample) { heard <- s })
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	login := []string{"--server", server, "--user", "zabbix", "--password-file", password}
	push := func(line ...string) (string, int) {
		_, errs, code := runAll(t, nil, "web/web1 queue 3 count\n10.0.0.11 queue 4\n", append(append([]string{"metric", "push"}, line...), login...)...)
		return errs, code
	}
	// The subscription is on its way to the server; a metric before it is lost.
	deadline := time.After(20 * time.Second)
	for got := false; !got; {
		if errs, code := push("web1", "warm", "1"); code != 0 {
			t.Fatalf("code %d, %s", code, errs)
		}
		select {
		case <-heard:
			got = true
		case <-deadline:
			t.Fatal("nothing was heard")
		case <-time.After(100 * time.Millisecond):
		}
	}
	if errs, code := push("-"); code != 0 {
		t.Fatalf("code %d, %s", code, errs)
	}
	want := map[string]bool{"web/web1 queue 3 count zabbix": true, "/10.0.0.11 queue 4  zabbix": true}
	for len(want) > 0 {
		select {
		case s := <-heard:
			if s.Probe != "warm" {
				delete(want, fmt.Sprintf("%s/%s %s %v %s %s", s.Backend.Service, s.Backend.Backend, s.Probe, s.Metrics[0].Value, s.Metrics[0].Unit, s.Node))
			}
		case <-deadline:
			t.Fatalf("not heard: %v", want)
		}
	}
	if errs, code := push("web1", "cpu", "1", "--source", "other"); code != exitPermission || !strings.Contains(errs, "publishes under its own name") {
		t.Errorf("as another: code %d, %s", code, errs)
	}
	if _, errs, code := runAll(t, nil, "", "metric", "push", "web1", "cpu", "1", "--server", "nats://127.0.0.1:1"); code != exitUnreachable || !strings.Contains(errs, "connect to NATS") {
		t.Errorf("no server: code %d, %s", code, errs)
	}
}

// The listener of a daemon answers in its own words.
func TestMetricPushHTTP(t *testing.T) {
	var bodies []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, r.Method+" "+r.URL.Path+" "+string(body))
		switch {
		case r.Header.Get("Authorization") != "Bearer abc":
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":{"code":"unauthorized","message":"log in","hint":"with a token"}}`)
		case strings.Contains(string(body), "nobody"):
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprint(w, `{"taken":0,"failed":[{"at":"[0]","error":"no such thing"}],"error":{"code":"refused","message":"no"}}`)
		case strings.Contains(string(body), "web/b9"):
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprint(w, `{"taken":0,"unmatched":[{"at":"[0]","error":"no backend web/b9; service web has b1"}],"error":{"code":"unmatched","message":"[0]: no"}}`)
		case strings.Contains(string(body), "alone"):
			fmt.Fprint(w, `{"taken":1,"warning":"known here only"}`)
		default:
			fmt.Fprint(w, `{"taken":1}`)
		}
	}))
	defer s.Close()
	token := write(t, t.TempDir(), "token", "abc\n")
	push := func(line ...string) (string, int) {
		_, errs, code := runAll(t, nil, "", append([]string{"metric", "push", "--url", s.URL}, line...)...)
		return errs, code
	}
	if errs, code := push("web1", "cpu", "0.5", "--token-file", token); code != 0 || errs != "" {
		t.Errorf("code %d, %s", code, errs)
	}
	if d := cmp.Diff([]string{`POST /v1/metrics [{"target":"web1","name":"cpu","value":0.5}]`}, bodies); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if errs, code := push("alone", "cpu", "0.5", "--token-file", token); code != 0 || !strings.Contains(errs, "known here only") {
		t.Errorf("known here only: code %d, %s", code, errs)
	}
	if errs, code := push("nobody", "cpu", "1", "--token-file", token); code != exitFailure || !strings.Contains(errs, "no such thing") {
		t.Errorf("refused: code %d, %s", code, errs)
	}
	if errs, code := push("web/b9", "cpu", "1", "--token-file", token); code != exitFailure || !strings.Contains(errs, "no backend web/b9; service web has b1") {
		t.Errorf("unmatched: code %d, %s", code, errs)
	}
	if errs, code := push("web1", "cpu", "1"); code != exitPermission || !strings.Contains(errs, "log in") || !strings.Contains(errs, "with a token") {
		t.Errorf("without a token: code %d, %s", code, errs)
	}
	s.Close()
	if errs, code := push("web1", "cpu", "1", "--token-file", token); code != exitUnreachable {
		t.Errorf("nobody there: code %d, %s", code, errs)
	}
}

func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// FuzzMetricLine: what a line says is a metric with a target and a name, or an error.
func FuzzMetricLine(f *testing.F) {
	for l := range strings.Lines(metricLines) {
		f.Add(l)
	}
	f.Fuzz(func(t *testing.T, text string) {
		line := bytes.TrimSpace([]byte(text))
		if len(line) == 0 {
			return
		}
		m, err := parseMetric(line)
		if err == nil && (m.Target == "" || m.Name == "") {
			t.Fatalf("%q is %+v", text, m)
		}
		if _, err := json.Marshal(m.Value); err != nil {
			t.Fatalf("%q is no finite number: %v", text, err)
		}
	})
}
