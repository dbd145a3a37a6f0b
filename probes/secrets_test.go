// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// TestEchoedSecrets: there are servers and commands that repeat what they are told, and
// neither the sample nor the steps of a run show it.
func TestEchoedSecrets(t *testing.T) {
	const secret = "hunter2-and-a-good-deal-longer-than-what-a-sentence-quotes-of-a-text"
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Authorization")+"\n")
	}))
	t.Cleanup(echo.Close)
	at := netip.MustParseAddrPort(strings.TrimPrefix(echo.URL, "http://"))
	headers := []core.Header{{Name: "Authorization", Value: "Bearer " + secret}}
	scrape := tcpTarget(at)
	scrape.Spec.Type, scrape.Spec.Prometheus.Headers = core.ProbePrometheus, []core.Header{{Name: "Authorization", Value: "!" + secret}}
	scrape.Spec.Metrics = []core.MetricSpec{{Name: "x", From: "x"}}
	says := execShell("echo my password is $PASSWORD; exit 2")
	says.Spec.Exec.Env = map[string]core.Secret{"PASSWORD": secret}
	whispers := execShell("echo no password $PASSWORD >&2; exit 2")
	whispers.Spec.Exec.Env = says.Spec.Exec.Env
	for name, target := range map[string]Target{
		"page":                  httpTarget(at, core.HTTPSpec{Headers: headers}),
		"page that is rejected": httpTarget(at, core.HTTPSpec{Headers: headers, Reject: "(?s).*"}),
		"text that is cut":      httpTarget(at, core.HTTPSpec{Headers: headers, Reject: "[-a-z0-9]+$"}),
		"page of metrics":       scrape,
		"command":               says,
		"command's errors":      whispers,
	} {
		target.Spec.Timeout = 5 * time.Second
		var steps []string
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		s := Try(ctx, target, func(step, text string) { steps = append(steps, step+": "+text) })
		cancel()
		all := strings.Join(append(steps, s.Detail), "\n")
		if strings.Contains(all, secret[:leastSecret]) {
			t.Errorf("%s: a secret shows in\n%s", name, all)
		}
		if !strings.Contains(all, core.Secret(secret).String()) {
			t.Errorf("%s: nothing was repeated, so this shows nothing:\n%s", name, all)
		}
	}
}

func TestHide(t *testing.T) {
	for text, want := range map[string]string{
		"nothing of it":            "nothing of it",
		"sesame and sesame":        "(secret) and (secret)",
		`it says "open ses…"`:      `it says "open ses…"`,
		`it says "open sesa…"`:     `it says "open (secret)…"`,
		`"sesam", "sesa…", "sesa…`: `"(secret)", "(secret)…", "(secret)…`,
		"sesa is no secret":        "sesa is no secret",
	} {
		if got := hide(text, []string{"sesame"}); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
