// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const rulesFile = "../../packaging/prometheus/steelyard.rules.yml"

// A rule is one of the rules file, as far as it matters here.
type rule struct {
	Record, Alert, Expr string
}

func rules(t *testing.T) []rule {
	t.Helper()
	data, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct{ Rules []rule }
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	var out []rule
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	return out
}

// A query is one of a dashboard, with its place.
type query struct{ where, expr string }

// dashboards are the queries of all of them, with the variables filled in.
func dashboards(t *testing.T) []query {
	t.Helper()
	files, err := filepath.Glob("../../packaging/grafana/*.json")
	if err != nil || len(files) != 3 {
		t.Fatalf("%d dashboards, %v; want 3", len(files), err)
	}
	fill := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*", "$service", "svc0000")
	var out []query
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Templating struct {
				List []struct{ Name, Definition string }
			}
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				out = append(out, query{filepath.Base(file) + ", " + p.Title, fill.Replace(target.Expr)})
			}
		}
		for _, v := range d.Templating.List {
			if expr, ok := strings.CutPrefix(v.Definition, "label_values("); ok {
				expr, _, _ = strings.Cut(fill.Replace(expr), ", ")
				out = append(out, query{filepath.Base(file) + ", $" + v.Name, expr})
			}
		}
	}
	return out
}

var (
	metricName = regexp.MustCompile(`\b(steelyard[:_][a-z0-9_:]+|go_[a-z0-9_]+|process_[a-z0-9_]+)\b`)
	suffix     = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// A metric that is renamed must not leave a dashboard or an alert behind that waits for
// the old one in silence.
func TestPackagingUsesWhatIsThere(t *testing.T) {
	known := families(full(t))
	all := rules(t)
	for _, r := range all {
		if r.Record != "" {
			known[r.Record] = "recorded"
		}
	}
	queries := dashboards(t)
	for _, r := range all {
		queries = append(queries, query{"rule " + r.Record + r.Alert, r.Expr})
	}
	for _, q := range queries {
		names := metricName.FindAllString(q.expr, -1)
		if len(names) == 0 {
			t.Errorf("%s: no metric of ours in %q", q.where, q.expr)
		}
		for _, name := range names {
			base := suffix.ReplaceAllString(name, "")
			if known[name] == "" && known[base] != "histogram" {
				t.Errorf("%s: %s is not there", q.where, name)
			}
		}
	}
}

// Every label that a query asks for is one that a metric has.
func TestPackagingUsesLabelsThatAreThere(t *testing.T) {
	matched := regexp.MustCompile(`(steelyard_[a-z0-9_]+)\{([^}]*)\}`)
	label := regexp.MustCompile(`([a-z_]+)(=~|!~|!=|=)`)
	of := make(map[string][]string)
	for line := range strings.Lines(full(t)) {
		if m := matched.FindStringSubmatch(line); m != nil {
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				of[m[1]] = append(of[m[1]], l[1])
			}
		}
	}
	queries := dashboards(t)
	for _, r := range rules(t) {
		queries = append(queries, query{"rule " + r.Record + r.Alert, r.Expr})
	}
	for _, q := range queries {
		for _, m := range matched.FindAllStringSubmatch(q.expr, -1) {
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if l[1] != "instance" && l[1] != "job" && !slices.Contains(of[m[1]], l[1]) {
					t.Errorf("%s: %s has no label %s", q.where, m[1], l[1])
				}
			}
		}
	}
}

func TestRules(t *testing.T) {
	promtool(t, "", "check", "rules", rulesFile)
	promtool(t, "", "test", "rules", "../../packaging/prometheus/steelyard.rules.test.yml")
}

// Each alert has a test of what makes it fire and one of what must not, and is in the
// docs.
func TestEveryAlertIsTested(t *testing.T) {
	tests, err := os.ReadFile("../../packaging/prometheus/steelyard.rules.test.yml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules(t) {
		for _, kind := range []string{"fires", "does not fire"} {
			if r.Alert != "" && !strings.Contains(string(tests), "name: "+r.Alert+" "+kind+"\n") {
				t.Errorf("%s: no test that it %s", r.Alert, kind)
			}
		}
		if !strings.Contains(string(doc), "`"+r.Alert+r.Record+"`") {
			t.Errorf("docs/metrics.md does not name %s%s", r.Alert, r.Record)
		}
	}
}
