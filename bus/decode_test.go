// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
)

// TestQuickSampleTakesOurs: what this version writes it reads the quick way, but for
// texts that JSON has to escape.
func TestQuickSampleTakesOurs(t *testing.T) {
	plainName := rapid.StringMatching(`[a-zA-Z0-9.:_ é-]{1,40}`)
	rapid.Check(t, func(t *rapid.T) {
		s := anySample.Draw(t, "sample")
		s.Backend = core.BackendID{Service: plainName.Draw(t, "service"), Backend: plainName.Draw(t, "backend")}
		s.Probe, s.Node, s.Type, s.Detail = plainName.Draw(t, "probe"), plainName.Draw(t, "node"), "http", "fine"
		s.Code, s.Admin = core.L7OK, core.AdminState("drain")
		s.Seq %= 1e18
		s.Metrics = rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) core.Metric {
			m := someMetric.Draw(t, "metric")
			m.Name, m.Unit = plainName.Draw(t, "name"), "ratio"
			return m
		}), 0, 5, func(m core.Metric) string { return m.Name }).Draw(t, "metrics")
		data, err := encodeSample(s, "inst", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		subj := ProbeSubject(s.Backend, s.Probe, s.Node)
		if _, _, ok := quickSample(subj, data); !ok {
			t.Fatalf("not taken: %s", data)
		}
		sameSample(t, subj, data)
	})
}

// sameSample holds the quick way against the slow one, where the quick one goes.
func sameSample(t interface {
	Fatalf(string, ...any)
}, subj string, data []byte) {
	got, env, ok := quickSample(subj, data)
	if !ok {
		return
	}
	want, wantEnv, err := parseSample(subj, data)
	if diff := cmp.Diff(want, got); err != nil || diff != "" || env != wantEnv {
		t.Fatalf("%s\nis taken, but: %v, %+v, want %+v (-want +got)\n%s", data, err, env, wantEnv, diff)
	}
}

// FuzzQuickSample: the quick way takes nothing that the slow one would not, and reads
// nothing in another way.
func FuzzQuickSample(f *testing.F) {
	s := testSample()
	subj := ProbeSubject(s.Backend, s.Probe, s.Node)
	good, err := encodeSample(s, "inst", time.Second)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(subj, good)
	for _, change := range [][2]string{
		{`0.25`, `00.25`}, {`0.25`, `-0`}, {`0.25`, `1e999`}, {`0.25`, `1E+2`}, {`0.25`, `0x1p-2`}, {`0.25`, `1.`}, {`0.25`, `.5`},
		{`the agent`, "the \xff"}, {`"seq":7`, `"seq":07`}, {`"seq":7`, `"seq":0`}, {`"seq":7`, `"seq":99999999999999999999`}, {`"lb1"`, `"\u006cb1"`}, {`web1`, "web\xff"},
		{`"cores"`, `"cpu"`}, {`"cores"`, `"d"`}, {`"ratio"`, `""`}, {`ok":true`, `ok":false`}, {`ok":true`, `ok":1`}, {`}`, ``}, {`{`, ` {`},
		{`"detail":"the`, `"detail":"` + strings.Repeat("é", 200)}, {`12:00:00.123456789Z`, `12:00:00.123456789+01:00`}, {`12:00:00`, `12:60:00`},
		{`"ttl_ms":1000`, `"ttl_ms":99999999999`}, {`"v":1`, `"v":2`}, {`"role":"metric"`, `"role":"boss"`},
		{`"took_seconds":0.001234567`, `"admin":"drain"`}, {`"took_seconds":0.001234567`, `"admin":"boss"`},
	} {
		f.Add(subj, []byte(strings.Replace(string(good), change[0], change[1], 1)))
	}
	f.Fuzz(func(t *testing.T, subj string, data []byte) { sameSample(t, subj, data) })
}
