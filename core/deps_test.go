// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/steelyard-lb/steelyard/"

// allowed says, per folder of ours, what else of ours it may import: the
// arrows of docs/architecture.md. cmd may import everything and is not listed.
// If this fails, the new import belongs into the package that joins the two,
// which is nearly always cmd/steelyard.
var allowed = map[string][]string{
	"core":               {},
	"core/nlmsg":         {}, // a file format, so to speak: for everyone who speaks netlink
	"core/engine":        {"core"},
	"core/sim":           {"core"},
	"core/config":        {"core"},
	"core/nft":           {"core", "core/nft", "core/nlmsg"},
	"core/conntrack":     {"core", "core/nlmsg"},
	"core/neigh":         {"core", "core/nlmsg"},
	"core/admin":         {"core"},
	"core/cluster":       {"core"},
	"core/ops":           {"core"},
	"core/webhook":       {"core"},
	"core/lab":           {"core", "core/lab"},
	"core/lab/kernellab": {"core", "core/lab", "core/nft"},               // a program: it counts what the applier writes
	"core/lab/peers":     {"core", "core/lab", "core/nft", "core/admin"}, // it measures them
	"probes":             {"core", "probes"},
	"bus":                {"core", "bus"},
	"plugins":            {"core", "plugins", "sdk/go"},
	"plugins/builtin":    {"plugins/builtin", "sdk/go"},
	"sdk":                {"sdk"},
	"examples":           {"sdk/go"},
}

func TestImportsPointInward(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "../...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(fields[0], module)
		if strings.HasPrefix(pkg, "cmd/") {
			continue
		}
		rule, ok := ruleFor(pkg)
		if !ok {
			t.Errorf("package %s has no rule: add its folder to the table", pkg)
			continue
		}
		for _, imp := range fields[1:] {
			checkImport(t, pkg, imp, rule)
		}
	}
}

// ruleFor finds the entry of the longest folder that pkg is in.
func ruleFor(pkg string) ([]string, bool) {
	for p := pkg; ; p = p[:strings.LastIndex(p, "/")] {
		if rule, ok := allowed[p]; ok {
			return rule, true
		}
		if !strings.Contains(p, "/") {
			return nil, false
		}
	}
}

func checkImport(t *testing.T, pkg, imp string, rule []string) {
	t.Helper()
	ours, isOurs := strings.CutPrefix(imp, module)
	if !isOurs {
		// core proper and the SDK are for everyone: the standard library only.
		if (pkg == "core" || strings.HasPrefix(pkg, "sdk/")) && strings.Contains(strings.Split(imp, "/")[0], ".") {
			t.Errorf("%s imports %s: the standard library only", pkg, imp)
		}
		return
	}
	for _, r := range rule {
		// "core" means the root package alone; anything else a folder and below.
		if ours == r || r != "core" && strings.HasPrefix(ours, r+"/") {
			return
		}
	}
	t.Errorf("%s imports %s; it may import %v", pkg, ours, rule)
}
