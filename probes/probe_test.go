// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/steelyard-lb/steelyard/core"
)

// need skips a test that cannot run here, on a laptop; in CI it fails instead,
// so that a missing program never looks like success.
func need(t *testing.T, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs " + what)
	}
	t.Skip("needs " + what)
}

// ask runs a target's probe once, as the runner would.
func ask(t *testing.T, target Target) core.Sample {
	t.Helper()
	return askWith(t, target, newProber(target))
}

// The time-outs of these tests: ample is for answers that come, on a machine that has
// no time; brief is for those that never come.
const (
	ample = 20 * time.Second
	brief = 700 * time.Millisecond
)

// inVain is a target whose run may end with its time-out, by what comes of it.
func inVain(target Target, code core.Code) Target {
	switch code {
	case core.L4Timeout, core.L6Timeout, core.L7Timeout, core.PingLost, core.SNMPTime:
		target.Spec.Timeout = brief
	case core.L7Expect: // what came until then decides
		target.Spec.Timeout = time.Second
	}
	return target
}

// askWith runs a prober that the test keeps, because it has state.
func askWith(t *testing.T, target Target, p prober) core.Sample {
	t.Helper()
	w := watch{fleet: &fleet{runner: &Runner{Node: "test"}}, spec: target.Spec, addr: target.Addr, prober: p}
	s := w.once(context.Background(), time.Now())
	if len(s.Detail) > maxDetail || s.Detail == "" || strings.Contains(s.Detail, "\n") {
		t.Errorf("detail %q: want one line of 1 to %d bytes", s.Detail, maxDetail)
	}
	if !s.Code.Known() {
		t.Errorf("code %q is not on core's list", s.Code)
	}
	if !s.OK && len(s.Metrics) > 0 {
		t.Errorf("a failed sample has metrics: %v", s.Metrics)
	}
	// The slack is for a busy machine; a probe without a deadline hangs for good.
	if limit := target.Spec.Timeout; limit != 0 && s.Took > limit+ample {
		t.Errorf("the run took %s, its timeout is %s", s.Took, limit)
	}
	return s
}

func wantCode(t *testing.T, s core.Sample, ok bool, code core.Code, inDetail string) {
	t.Helper()
	if s.OK != ok || s.Code != code || !strings.Contains(s.Detail, inDetail) {
		t.Errorf("got ok=%t %s %q, want ok=%t %s with %q in it", s.OK, s.Code, s.Detail, ok, code, inDetail)
	}
}

func wantMetrics(t *testing.T, s core.Sample, names ...string) {
	t.Helper()
	var got []string
	for _, m := range s.Metrics {
		got = append(got, m.Name)
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("metrics %v, want %v", got, names)
	}
}

func TestUnknownTypeSaysSo(t *testing.T) {
	s := ask(t, Target{Spec: &core.ProbeSpec{Type: "smtp", Timeout: time.Second}})
	wantCode(t, s, false, core.Internal, `"smtp"`)
}

func TestOneLine(t *testing.T) {
	long := strings.Repeat("ä", 300)
	got := oneLine(long)
	if len(got) > maxDetail || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
		t.Errorf("got %d bytes, valid=%t: %q", len(got), utf8.ValidString(got), got)
	}
	if got := oneLine("a\r\n\x1b[31mb\xff"); got != "a   [31mb " {
		t.Errorf("got %q: control characters must go", got)
	}
	// A terminal takes U+009B for ESC [, and U+202E turns round what follows.
	if got := oneLine("a\u009b31mb\u202ec\u2028d"); got != "a 31mb c d" {
		t.Errorf("got %q: what a terminal obeys must go", got)
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("plain")
	f.Add(strings.Repeat("é", 200) + "\x00")
	f.Fuzz(func(t *testing.T, s string) {
		got := oneLine(s)
		if len(got) > maxDetail || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x1b\x00") {
			t.Errorf("oneLine(%q) = %q", s, got)
		}
	})
}
