// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
)

// seldom are queries that are empty while nothing is wrong.
var seldom = []string{"Probes that fail", "Backends that are not up", "Services with nobody", "Samples lost", "Refused and turned away"}

// A real Prometheus scrapes over TLS as a user, loads the rules and answers every query
// of the dashboards with something.
func TestPrometheusScrapes(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI is set, so prometheus must be there")
		}
		t.Skip("needs prometheus")
	}
	dir := t.TempDir()
	ca := authority(t, dir)
	cert, key := certificate(t, dir, "lb1", ca)
	s := fed(t, Config{Node: &fakeNode{view: populated(2, 3)}, Cert: cert, Key: key,
		Users: []User{{Name: "prometheus", Password: "p", Rights: []string{RightRead}}}})
	serving(t, s, "https")
	api := prometheus(t, path, dir, s.Addr().String(), ca.file)

	// Things go on while it looks.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			s.Observe(core.Decision{Service: "svc0000", Policy: "weighted", Trigger: "web00 went up", Outcome: core.Applied, TotalSeconds: 0.004})
			s.ObserveHealth(core.HealthChange{Backend: core.BackendID{Service: "svc0000", Backend: "web00"}})
			s.ObserveSample(core.Sample{Probe: "http", Took: time.Millisecond})
			s.ObserveCommit(core.Commit{Took: time.Millisecond})
			time.Sleep(10 * time.Millisecond)
		}
	}()
	for _, q := range dashboards(t) {
		may := false
		for _, title := range seldom {
			may = may || strings.Contains(q.where, title)
		}
		waitFor(t, q.where+": "+q.expr, func() error { return answered(api, q.expr, may) })
	}
	waitFor(t, "the rules", func() error { return rulesWell(api) })
}

// prometheus runs one that scrapes the address, and returns its URL.
func prometheus(t *testing.T, path, dir, address, ca string) string {
	t.Helper()
	listen := fmt.Sprint("127.0.0.1:", bustest.FreePort(t))
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [%s]
scrape_configs:
  - job_name: steelyard
    scheme: https
    tls_config: {ca_file: %s}
    basic_auth: {username: prometheus, password: p}
    static_configs: [{targets: ["%s"]}]
`, rules, ca, address)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+listen, "--log.level=warn")
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return "http://" + listen + "/api/v1/"
}

func waitFor(t *testing.T, what string, is func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = is(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// ask reads one answer of the API.
func ask(api, path string, into any) error {
	resp, err := http.Get(api + path)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, data)
	}
	return json.Unmarshal(data, into)
}

// answered says why a query has no result yet.
func answered(api, expr string, mayBeEmpty bool) error {
	var out struct {
		Data struct {
			Result []json.RawMessage `json:"result"`
		} `json:"data"`
	}
	if err := ask(api, "query?query="+url.QueryEscape(expr), &out); err != nil {
		return err
	}
	if len(out.Data.Result) == 0 && !mayBeEmpty {
		return fmt.Errorf("no result")
	}
	return nil
}

// rulesWell says why the rules are not all evaluated without an error.
func rulesWell(api string) error {
	var out struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	if err := ask(api, "rules", &out); err != nil {
		return err
	}
	n := 0
	for _, g := range out.Data.Groups {
		for _, r := range g.Rules {
			if r.Health != "ok" {
				return fmt.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
			}
			n++
		}
	}
	if n == 0 {
		return fmt.Errorf("no rules")
	}
	return nil
}
