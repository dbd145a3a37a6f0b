// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// A counting prober has a rate from its nth answer on.
type counting struct{ runs, need int }

func (p *counting) probe(ctx context.Context) result {
	p.runs++
	note(ctx, "run", "number %d", p.runs)
	if p.runs < p.need {
		return result{ok: true, code: core.MetricWait, detail: "a rate needs a second answer"}
	}
	return result{ok: true, code: core.MetricOK, detail: "one rate", metrics: []core.Metric{{Name: "rate", Unit: "per_second"}}}
}

func (p *counting) enough(r result) time.Duration {
	if r.code == core.MetricWait {
		return 5 * time.Second
	}
	return 0
}

// tryWith is Try with a prober of the test's.
func tryWith(ctx context.Context, t *testing.T, tgt Target, p prober) (core.Sample, string) {
	t.Helper()
	var said strings.Builder
	s := try(ctx, tgt, p, func(step, text string) { fmt.Fprintf(&said, "%s: %s\n", step, text) })
	return s, said.String()
}

func TestTryAsksUntilEnough(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		start := time.Now()
		s, said := tryWith(t.Context(), t, target("web1", time.Second), &counting{need: 3})
		wantCode(t, s, true, core.MetricOK, "one rate")
		wantMetrics(t, s, "rate")
		if s.Seq != 3 || time.Since(start) != 10*time.Second {
			t.Errorf("%d runs in %s, want 3 in 10s", s.Seq, time.Since(start))
		}
		for _, want := range []string{"run: number 1\n", "wait: METRICWAIT: a rate needs a second answer; once more in 5s\n", "run: number 3\n"} {
			if !strings.Contains(said, want) {
				t.Errorf("said:\n%swant %q in it", said, want)
			}
		}
	})
}

func TestTryEndsWithItsContext(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		s, _ := tryWith(ctx, t, target("web1", time.Second), &counting{need: 1000})
		wantCode(t, s, true, core.MetricWait, "second answer")
		if s.Seq != 3 {
			t.Errorf("seq %d, want 3: runs at 0, 5 and 10 s", s.Seq)
		}

		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		tgt := target("web1", time.Minute)
		slow := &stub{takes: func(int) time.Duration { return time.Hour }}
		s, _ = tryWith(ctx, t, tgt, slow)
		wantCode(t, s, false, core.Internal, "broken off") // not a time-out of the backend

		// A run that had its time is one, though nothing is left for another.
		ctx, cancel = context.WithTimeout(t.Context(), tgt.Spec.Timeout)
		defer cancel()
		s, _ = tryWith(ctx, t, tgt, slow)
		wantCode(t, s, false, core.L4Timeout, "no answer")
	})
}

// A bad answer is the end: what it says is what the operator is to read.
func TestTryEndsAtBadAnswer(t *testing.T) {
	var said strings.Builder
	tgt := target("web1", time.Second)
	tgt.Addr = probestest.Refused(t)
	got := Try(t.Context(), tgt, func(step, text string) { fmt.Fprintf(&said, "%s: %s\n", step, text) })
	wantCode(t, got, false, core.L4Refused, tgt.Addr.String())
	if s := said.String(); !strings.Contains(s, "probe: tcp of "+tgt.Addr.String()+", time-out 500ms\n") {
		t.Errorf("said:\n%s", s)
	}
	if got.Backend != tgt.ID || got.Probe != "alive" || got.Seq != 1 {
		t.Errorf("got %+v", got)
	}
	if again := Try(t.Context(), tgt, nil); again.Code != got.Code {
		t.Errorf("without say: %s, with: %s", again.Code, got.Code)
	}
}

func TestTryOutlivesPanic(t *testing.T) {
	s, _ := tryWith(t.Context(), t, target("web1", time.Second), crashing{})
	wantCode(t, s, false, core.Internal, "report it: index 7")
}

// A crashing prober has a mistake.
type crashing struct{}

func (crashing) probe(context.Context) result { panic("index 7\nof nothing") }
