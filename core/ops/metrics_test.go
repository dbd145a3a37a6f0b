// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

func scrape(t testing.TB, s *Server) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("GET /metrics: status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func full(t testing.TB) string {
	return scrape(t, fed(t, Config{Node: &fakeNode{view: populated(1, 2)}, Version: "v1.2.3"}))
}

// promtool is the judge of Prometheus; it skips on a laptop without one, and fails
// there where CI is set.
func promtool(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI is set, so promtool must be there: install prometheus")
		}
		t.Skip("needs promtool, of the package prometheus")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestPrometheusFindsNoFault(t *testing.T) {
	if out := promtool(t, full(t), "check", "metrics"); strings.TrimSpace(out) != "" {
		t.Errorf("promtool check metrics says:\n%s", out)
	}
}

// A page must be what an empty node can write as well.
func TestPrometheusFindsNoFaultInAnEmptyNode(t *testing.T) {
	s, err := New(Config{Listen: "127.0.0.1:0", Node: &fakeNode{}})
	if err != nil {
		t.Fatal(err)
	}
	if out := promtool(t, scrape(t, s), "check", "metrics"); strings.TrimSpace(out) != "" {
		t.Errorf("promtool check metrics says:\n%s", out)
	}
}

var typeLine = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)

// families are the names and kinds of a page.
func families(text string) map[string]string {
	out := make(map[string]string)
	for _, m := range typeLine.FindAllStringSubmatch(text, -1) {
		out[m[1]] = m[2]
	}
	return out
}

var documented = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (gauge|counter|histogram|summary) \\|")

// The table of docs/metrics.md is the list of what there is, no more and no less.
func TestDocsListEveryMetric(t *testing.T) {
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	real := families(full(t))
	told := make(map[string]string)
	for _, m := range documented.FindAllStringSubmatch(string(doc), -1) {
		told[m[1]] = m[2]
	}
	for name, kind := range real {
		if told[name] != kind {
			t.Errorf("docs/metrics.md: %s is a %s, and the table says %q", name, kind, told[name])
		}
	}
	for name := range told {
		if real[name] == "" {
			t.Errorf("docs/metrics.md: %s is not there", name)
		}
	}
}

// A node that carries no traffic says nothing of a kernel: no transaction of it was ever
// refused, and its decisions are in nobody's kernel after so many milliseconds.
func TestNoKernelNoMetricsOfIt(t *testing.T) {
	view := populated(1, 2)
	view.Roles = []string{"probe", "schedule"}
	for name := range families(scrape(t, fed(t, Config{Node: &fakeNode{view: view}}))) {
		if strings.HasPrefix(name, "steelyard_nft_") || name == "steelyard_probe_to_kernel_seconds" {
			t.Errorf("the page of a node without the role apply has %s", name)
		}
	}
}

func TestValues(t *testing.T) {
	text := full(t)
	for _, want := range []string{
		`steelyard_build_info{version="v1.2.3",goversion="`,
		"steelyard_config_last_reload_successful 1\n",
		`steelyard_backend_state{service="svc0000",backend="web00",state="up"} 1` + "\n",
		`steelyard_backend_state{service="svc0000",backend="web00",state="down"} 0` + "\n",
		`steelyard_backend_weight{service="svc0000",backend="web01",kind="configured"} 10` + "\n",
		`steelyard_backend_weight{service="svc0000",backend="web01",kind="command"} 5` + "\n",
		`steelyard_backend_share_ratio{service="svc0000",backend="web01"} 0.5` + "\n",
		`steelyard_backend_state_changes_total{service="svc0000",backend="web00"} 1` + "\n",
		`steelyard_backend_state_changes_total{service="svc0000",backend="web01"} 0` + "\n",
		`steelyard_probe_to_kernel_seconds_bucket{le="0.002"} 0` + "\n",
		`steelyard_probe_to_kernel_seconds_bucket{le="0.005"} 1` + "\n",
		`steelyard_probe_to_kernel_seconds_bucket{le="+Inf"} 1` + "\n",
		"steelyard_probe_to_kernel_seconds_sum 0.0031\n",
		"steelyard_probe_to_kernel_seconds_count 1\n",
		`steelyard_probe_duration_seconds_bucket{probe="http",le="0.02"} 1` + "\n",
		`steelyard_probe_runs_total{type="http",result="ok"} 990` + "\n",
		`steelyard_policy_decisions_total{service="svc0000",policy="weighted",outcome="applied"} 1` + "\n",
		`steelyard_cluster_members{state="silent"} 1` + "\n",
		`steelyard_webhook_dropped_total{webhook="pager"} 2` + "\n",
		`steelyard_bus_dropped_total{reason="late"} 3` + "\n",
		`steelyard_service_turned_away_total{service="svc0000",reason="denied"} 3` + "\n",
		"steelyard_metrics_series_omitted 0\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestOutcomes(t *testing.T) {
	step := func(name string) []core.BackendDecision {
		return []core.BackendDecision{{Steps: []core.Step{{Name: name}}}}
	}
	tests := map[string]core.Decision{
		"applied":    {Outcome: core.Applied},
		"unchanged":  {Outcome: core.Unchanged},
		"dead_band":  {Outcome: core.Unchanged, Backends: step("dead_band")},
		"clamped":    {Outcome: core.Applied, Backends: step("step")},
		"fallback":   {Outcome: core.Applied, PolicyError: "it trapped"},
		"failed":     {Outcome: core.Failed, PolicyError: "it trapped"},
		"superseded": {Outcome: core.Superseded},
	}
	for want, d := range tests {
		if got := outcome(&d); got != want {
			t.Errorf("outcome of %+v: %s, want %s", d, got, want)
		}
	}
}

// Only what a change of health brought to the kernel is on the histogram of that.
func TestProbeToKernelIsOfHealth(t *testing.T) {
	s := fed(t, Config{Node: &fakeNode{view: populated(1, 1)}})
	s.Observe(core.Decision{Service: "svc0000", Trigger: "interval", Outcome: core.Applied, TotalSeconds: 3})
	s.Observe(core.Decision{Service: "svc0000", Trigger: "web00 went down", Outcome: core.Failed, TotalSeconds: 3})
	s.Observe(core.Decision{Service: "svc0000", Trigger: "a cause", Causes: []core.SampleRef{{Probe: "http"}}, Outcome: core.Applied, TotalSeconds: 9})
	if text := scrape(t, s); !strings.Contains(text, "steelyard_probe_to_kernel_seconds_count 2\n") || !strings.Contains(text, "steelyard_probe_to_kernel_seconds_sum 9.0031\n") {
		t.Errorf("want the one of fed and the one with a cause:\n%s", text)
	}
}

func TestPanicIsOfTheLatestDecision(t *testing.T) {
	s := fed(t, Config{Node: &fakeNode{view: populated(1, 1)}})
	d := core.Decision{Service: "svc0000", Backends: []core.BackendDecision{{Steps: []core.Step{{Name: "panic"}}}}}
	s.Observe(d)
	if !strings.Contains(scrape(t, s), `steelyard_service_panic{service="svc0000"} 1`) {
		t.Error("in panic, and not told")
	}
	d.Backends = nil
	s.Observe(d)
	if !strings.Contains(scrape(t, s), `steelyard_service_panic{service="svc0000"} 0`) {
		t.Error("the panic is over, and not told")
	}
}

// What is of a service that is gone is not kept.
func TestForgetsWhatIsGone(t *testing.T) {
	node := &fakeNode{view: populated(2, 1)}
	s := fed(t, Config{Node: node})
	for i := range 100 {
		s.Observe(core.Decision{Service: fmt.Sprintf("gone%d", i)})
		s.ObserveHealth(core.HealthChange{Backend: core.BackendID{Service: "svc0001", Backend: fmt.Sprintf("gone%d", i)}})
	}
	if text := scrape(t, s); strings.Contains(text, "gone") {
		t.Errorf("a service that is not there is on the page:\n%s", text)
	}
	if m := &s.meter; len(m.decisions) != 1 || len(m.changes) != 1 || len(m.panics) != 1 {
		t.Errorf("kept %d, %d and %d, want one each", len(m.decisions), len(m.changes), len(m.panics))
	}
}

// A nil server is one that nobody configured.
func TestNilObserves(*testing.T) {
	var s *Server
	s.Observe(core.Decision{})
	s.ObserveHealth(core.HealthChange{})
	s.ObserveCommit(core.Commit{})
	s.ObserveSample(core.Sample{})
}

// Above the limit whole families are left out, from the end, and told.
func TestLimitOfSeries(t *testing.T) {
	for _, limit := range []int{100, 300, 1000, 10000} {
		s := fed(t, Config{Node: &fakeNode{view: populated(20, 10)}, MaxSeries: limit})
		text := scrape(t, s)
		series := 0
		perFamily := make(map[string]int)
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "#") {
				series++
				name, _, _ := strings.Cut(strings.Fields(line)[0], "{")
				perFamily[name]++
			}
		}
		if series > limit {
			t.Errorf("limit %d: %d series", limit, series)
		}
		for name, n := range perFamily {
			if strings.HasPrefix(name, "steelyard_backend_") && n%200 != 0 {
				t.Errorf("limit %d: %s has %d series, want all of its 200 backends or none", limit, name, n)
			}
		}
		complete := strings.Contains(text, "steelyard_metrics_series_omitted 0\n")
		if complete != (limit == 10000) {
			t.Errorf("limit %d: omitted is 0: %t", limit, complete)
		}
		if !strings.Contains(text, "steelyard_nft_commits_total") {
			t.Errorf("limit %d: what is of the node is gone first", limit)
		}
		promtool(t, text, "check", "metrics")
	}
}

func TestLabelsAreEscaped(t *testing.T) {
	p := &page{max: 10}
	p.family("x", gauge, "X.", func() { p.add(0.5, "a", "q\"b\\s\nn", "b", "", "c", "é\xff") })
	want := "# HELP x X.\n# TYPE x gauge\n" + `x{a="q\"b\\s\nn",b="",c="é` + "\uFFFD" + `"} 0.5` + "\n"
	if got := string(p.buf); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestGzip(t *testing.T) {
	s := fed(t, Config{Node: &fakeNode{view: populated(1, 1)}})
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, r)
	if got := w.Header().Get("Content-Encoding"); got != "gzip" {
		t.Fatalf("Content-Encoding: %q, want gzip", got)
	}
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil || !bytes.Contains(text, []byte("steelyard_build_info")) {
		t.Errorf("unpacked %d bytes, %v", len(text), err)
	}
}

// Who asks while a page is made gets one that was begun after that, together with all
// who asked by then.
func TestScrapesShareAPage(t *testing.T) {
	node := &fakeNode{view: populated(1, 1)}
	s := fed(t, Config{Node: node})
	s.pages.latest, s.pages.begun = []byte("begun before\n"), time.Now().Add(-time.Nanosecond)
	if text := scrape(t, s); text == "begun before\n" || node.asked != 1 {
		t.Errorf("a page that was begun before the request was given: %q", text)
	}
	s.pages.latest, s.pages.begun = []byte("begun after\n"), time.Now().Add(time.Hour)
	if text := scrape(t, s); text != "begun after\n" || node.asked != 1 {
		t.Errorf("a page that was begun after the request was not given: %q", text)
	}
}

// Everything at once, for the race detector.
func TestHammer(t *testing.T) {
	node := &fakeNode{view: populated(3, 3)}
	s := fed(t, Config{Node: node})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 100 {
				id := core.BackendID{Service: "svc0000", Backend: fmt.Sprintf("web%02d", j%5)}
				s.Observe(core.Decision{Service: fmt.Sprintf("svc%04d", j%5), Policy: "weighted"})
				s.ObserveHealth(core.HealthChange{Backend: id})
				s.ObserveSample(core.Sample{Backend: id, Probe: fmt.Sprintf("p%d", j%7), Took: time.Millisecond})
				s.ObserveCommit(core.Commit{Took: time.Millisecond})
				if j%10 == i {
					scrape(t, s)
					get(s, "/readyz?verbose")
				}
			}
		})
	}
	wg.Wait()
	if text := scrape(t, s); !strings.Contains(text, "steelyard_nft_commit_duration_seconds_count 401\n") {
		t.Errorf("want 401 commits:\n%s", text)
	}
}

func TestSlowLoopIsTold(t *testing.T) {
	s := fed(t, Config{Node: &fakeNode{hang: true}})
	s.within = 10 * time.Millisecond
	w := get(s, "/healthz")
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("/healthz of a loop that hangs: %d %s", w.Code, w.Body)
	}
}

func BenchmarkScrape(b *testing.B) {
	for _, size := range []struct{ services, backends, limit int }{{10, 4, 0}, {1000, 16, 0}, {1000, 16, 1_000_000}} {
		b.Run(fmt.Sprintf("%dx%d/limit=%d", size.services, size.backends, size.limit), func(b *testing.B) {
			s := fed(b, Config{Node: &fakeNode{view: populated(size.services, size.backends)}, MaxSeries: size.limit})
			h := s.handler()
			b.ReportAllocs()
			var n int
			for b.Loop() { // one scrape, without what the view costs the node
				w := &discard{}
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
				n = w.n
			}
			b.ReportMetric(float64(n)/1e6, "MB")

		})
	}
}

// A discard counts what it is written.
type discard struct {
	n int
	h http.Header
}

func (d *discard) Header() http.Header {
	if d.h == nil {
		d.h = make(http.Header)
	}
	return d.h
}
func (d *discard) WriteHeader(int) {}
func (d *discard) Write(p []byte) (int, error) {
	d.n += len(p)
	return len(p), nil
}

// Each name is written once, and by one goroutine at a time.
func TestFamiliesAreThereOnce(t *testing.T) {
	var names []string
	for _, m := range typeLine.FindAllStringSubmatch(full(t), -1) {
		if slices.Contains(names, m[1]) {
			t.Errorf("%s is there twice", m[1])
		}
		names = append(names, m[1])
	}
}
