// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// lines writes samples for a comparison: target, name=value unit, and the age in
// seconds where they are not of now.
func lines(samples []core.Sample, now time.Time) string {
	var b strings.Builder
	for _, s := range samples {
		target := s.Backend.Backend
		if s.Backend.Service != "" {
			target = "of " + s.Backend.String()
		}
		fmt.Fprintf(&b, "%s %s:", target, s.Probe)
		for _, m := range s.Metrics {
			fmt.Fprintf(&b, " %s=%v%s", m.Name, m.Value, m.Unit)
			if m.Window != 0 {
				fmt.Fprintf(&b, "/%s", m.Window)
			}
		}
		if age := now.Sub(s.TakenAt); age != 0 {
			fmt.Fprintf(&b, " %s ago", age)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestDecodeMetrics(t *testing.T) {
	tests := map[string]struct {
		query, header, body string
		want                string // lines
		failed              string // place and error of each, or the error of the whole
	}{
		"the least": {body: `{"target":"web/web1","name":"cpu","value":0.42}`, want: "web/web1 cpu: cpu=0.42\n"},
		"a list": {body: `[{"target":"web1","name":"cpu","value":0},{"target":"192.0.2.20","name":"cpu","value":1,"unit":"ratio"}]`,
			want: "web1 cpu: cpu=0\n192.0.2.20 cpu: cpu=1ratio\n"},
		"a bare number":     {query: "target=web/web1&name=cpu", body: " 0.42\n", want: "web/web1 cpu: cpu=0.42\n"},
		"numbers in a list": {query: "target=web1&name=cpu", body: `[1,2]`, want: "web1 cpu: cpu=1\nweb1 cpu: cpu=2\n"},
		"the query fills":   {query: "service=web&backend=web1&name=temp&unit=celsius", body: `{"value":50}`, want: "of web/web1 temp: temp=50celsius\n"},
		"the body is first": {query: "target=web9&name=x", body: `{"target":"web1","name":"y","value":1}`, want: "web1 y: y=1\n"},
		"the body of the bus": {body: `{"v":1,"src":"zabbix","ts":"2026-01-02T15:04:00Z","service":"web","backend":"web1","probe":"load","metrics":{"cpu":{"value":0.42,"unit":"ratio","window_seconds":60},"cores":8}}`,
			want: "of web/web1 load: cores=8 cpu=0.42ratio/1m0s 5s ago\n"},
		"microseconds":       {body: `{"target":"a","name":"n","value":1,"ts":1767366244000000}`, want: "a n: n=1 1s ago\n"},
		"seconds":            {body: `{"target":"a","name":"n","value":1,"ts":1767366243}`, want: "a n: n=1 2s ago\n"},
		"parts of a second":  {body: `{"target":"a","name":"n","value":1,"ts":1767366243.5}`, want: "a n: n=1 1.5s ago\n"},
		"milliseconds":       {body: `{"target":"a","name":"n","value":1,"at":1767366244000}`, want: "a n: n=1 1s ago\n"},
		"nanoseconds":        {body: `{"target":"a","name":"n","value":1,"ts":1767366244000000000}`, want: "a n: n=1 1s ago\n"},
		"half a millisecond": {body: `{"target":"a","name":"n","value":1,"ts":1767366244000.5}`, failed: "want seconds, or whole milliseconds"},
		"CloudEvent":         {body: `{"specversion":"1.0","id":"1","source":"/x","type":"t","time":"2026-01-02T15:04:03Z","data":{"target":"a","name":"n","value":1}}`, want: "a n: n=1 2s ago\n"},
		"CloudEvent, list":   {body: `{"specversion":"1.0","id":"1","source":"/x","type":"t","data":[{"target":"a","name":"n","value":1},{"name":"n"}]}`, want: "a n: n=1\n", failed: "data[1] target: is missing"},
		"CloudEvents, batch": {body: `[{"specversion":"1.0","id":"1","source":"/x","type":"t","data":{"target":"a","name":"n","value":1}}]`, want: "a n: n=1\n"},
		"CloudEvent, binary": {header: "2026-01-02T15:04:01Z", body: `{"target":"a","name":"n","value":1}`, want: "a n: n=1 4s ago\n"},
		"event in event":     {body: `{"specversion":"1.0","data":{"specversion":"1.0","data":1}}`, failed: "target: is missing"},
		"Telegraf": {body: `{"metrics":[{"fields":{"usage_idle":98.1,"up":true,"release":"12"},"name":"cpu","tags":{"host":"web1"},"timestamp":1767366240},
			{"fields":{"value":3},"name":"queue","tags":{"target":"web/web2","host":"x"},"timestamp":1767366245000},
			{"fields":{"value":3},"name":"queue","tags":{"service":"web","backend":"web3","host":"x"}},
			{"fields":{"value":"three"},"name":"queue","tags":{"host":"web1"}},
			{"fields":{"value":3},"name":"queue","tags":{}}]}`,
			want:   "web1 cpu: cpu_up=1 cpu_usage_idle=98.1 5s ago\nweb/web2 queue: queue=3\nof web/web3 queue: queue=3\n",
			failed: "metrics[3] fields: none; metrics[4] tags: want target"},
		"Telegraf, one":      {body: `{"fields":{"load1":1.5},"name":"system","tags":{"backend":"web1"},"timestamp":1767366245000000000}`, want: "web1 system: system_load1=1.5\n"},
		"one of two is bad":  {body: `[{"target":"a","name":"n","value":1},{"target":"a","name":"n"}]`, want: "a n: n=1\n", failed: "[1] value: is missing"},
		"no target":          {body: `{"name":"cpu","value":1}`, failed: "target: is missing"},
		"no name":            {body: `{"target":"a","value":1}`, failed: "name: is missing"},
		"half a backend":     {body: `{"service":"web","name":"n","value":1}`, failed: "backend: is missing"},
		"two ways":           {body: `{"target":"a","name":"n","value":1,"metrics":{"x":1}}`, failed: "want one of them"},
		"somebody else":      {body: `{"src":"nagios","target":"a","name":"n","value":1}`, failed: `the user is "zabbix"`},
		"a metric of none":   {body: `{"target":"a","metrics":{"x":{"unit":"ratio"}}}`, failed: "metrics.x: value is missing"},
		"null":               {query: "target=a&name=n", body: `null`, failed: "not a metric"},
		"nothing":            {body: ``, failed: "not a metric"},
		"text":               {body: `cpu{target="web1"} 0.42`, failed: "not a metric"},
		"a broken list":      {body: `[{"target":`, failed: "not a list"},
		"an old CloudEvent":  {body: `{"specversion":"0.3","data":1}`, failed: "want 1.0"},
		"an event of nought": {body: `{"specversion":"1.0"}`, failed: "data: is missing"},
		"an event's time":    {body: `{"specversion":"1.0","time":"today","data":1}`, failed: "RFC 3339"},
		"too many":           {body: "[" + strings.Repeat("1,", maxEntries) + "1]", failed: "at most 4096"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			query, err := url.ParseQuery(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			h := http.Header{}
			if tt.header != "" {
				h.Set("ce-specversion", "1.0")
				h.Set("ce-time", tt.header)
			}
			f, err := decodeMetrics([]byte(tt.body), h, query, "zabbix", epoch)
			check(t, f, err, tt.want, tt.failed)
		})
	}
}

// check compares what was found. Failed are fragments, in order, with ; between.
func check(t *testing.T, f found, err error, want, failed string) {
	t.Helper()
	var got []core.Sample
	for _, p := range f.samples {
		got = append(got, p.Sample)
		if p.Role != core.MetricRole || !p.OK || p.Node != "" {
			t.Errorf("sample %+v: want a good one of a metric", p.Sample)
		}
	}
	if diff := cmp.Diff(want, lines(got, epoch)); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	var all []string
	for _, one := range f.failed {
		all = append(all, one.At+" "+one.Error)
	}
	if err != nil {
		all = append(all, err.Error())
	}
	var wants []string
	if failed != "" {
		wants = strings.Split(failed, "; ")
	}
	if len(all) != len(wants) {
		t.Fatalf("failed: %q, want %q", all, wants)
	}
	for i := range wants {
		if !strings.Contains(all[i], wants[i]) {
			t.Errorf("failed: %q, want %q in it", all[i], wants[i])
		}
	}
}

func TestDecodeAlerts(t *testing.T) {
	message := func(alerts string) string { return `{"version":"4","status":"firing","alerts":[` + alerts + `]}` }
	tests := map[string]struct{ body, want, failed string }{
		"firing":      {body: message(`{"status":"firing","labels":{"alertname":"HighLoad","backend":"web1"},"annotations":{"summary":"load"}}`), want: "web1 alert_HighLoad: alert_HighLoad=1\n"},
		"resolved":    {body: message(`{"status":"resolved","labels":{"alertname":"HighLoad","service":"web","backend":"web1"}}`), want: "of web/web1 alert_HighLoad: alert_HighLoad=0\n"},
		"an instance": {body: message(`{"status":"firing","labels":{"alertname":"a","instance":"192.0.2.20:9100"}}`), want: "192.0.2.20 alert_a: alert_a=1\n"},
		"over IPv6":   {body: message(`{"status":"firing","labels":{"alertname":"a","instance":"[2001:db8::1]:9100"}}`), want: "2001:db8::1 alert_a: alert_a=1\n"},
		"no port":     {body: message(`{"status":"firing","labels":{"alertname":"a","instance":"web1"}}`), want: "web1 alert_a: alert_a=1\n"},
		"a metric":    {body: message(`{"status":"firing","labels":{"target":"web/web1","steelyard_metric":"penalty"},"annotations":{"steelyard_value":" 0.5"}}`), want: "web/web1 penalty: penalty=0.5\n"},
		"a service only": {body: message(`{"status":"firing","labels":{"alertname":"a","service":"web","instance":"x:1"}}`),
			want: "x alert_a: alert_a=1\n"},
		"a name with spaces":    {body: message(`{"status":"firing","labels":{"alertname":"High load (5m)","backend":"b"}}`), want: "b alert_High_load__5m_: alert_High_load__5m_=1\n"},
		"firing is last":        {body: message(`{"status":"firing","labels":{"alertname":"a","backend":"b"}},{"status":"resolved","labels":{"alertname":"a","backend":"b"}}`), want: "b alert_a: alert_a=0\nb alert_a: alert_a=1\n"},
		"one names nobody":      {body: message(`{"status":"firing","labels":{"alertname":"a"}},{"status":"firing","labels":{"alertname":"a","backend":"b"}}`), want: "b alert_a: alert_a=1\n", failed: "alerts[0] labels: want target"},
		"one has no name":       {body: message(`{"status":"firing","labels":{"backend":"b"}}`), failed: "alerts[0] labels: no alertname"},
		"a value that is none":  {body: message(`{"status":"firing","labels":{"alertname":"a","backend":"b","steelyard_value":"much"}}`), failed: "is no number"},
		"a status that is none": {body: message(`{"status":"pending","labels":{"alertname":"a","backend":"b"}}`), failed: "want firing or resolved"},
		"another version":       {body: `{"version":"5","alerts":[]}`, failed: "want 4"},
		"something else":        {body: `[]`, failed: "not a webhook of Alertmanager"},
		"nobody":                {body: message(``)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, err := decodeAlerts([]byte(tt.body), epoch)
			check(t, f, err, tt.want, tt.failed)
		})
	}
}

func post(t *testing.T, s *Server, path, body string) (*httptest.ResponseRecorder, result) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer t")
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, r)
	var out result
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("answer %q: %v", w.Body, err)
	}
	return w, out
}

func pusher(t *testing.T, node *fakeNode) *Server {
	return fed(t, Config{Node: node, Users: []User{{Name: "zabbix", Token: "t", Rights: []string{RightPush}}}})
}

// What is wrong with one entry costs no other, and the answer says which it was.
func TestPartOfABatch(t *testing.T) {
	node := &fakeNode{refuse: func(s core.Sample) error {
		if s.Backend.Backend == "nobody" {
			return errRefused
		}
		return nil
	}}
	s := pusher(t, node)
	w, out := post(t, s, "/v1/metrics", `[{"target":"web1","name":"cpu","value":1},{"target":"nobody","name":"cpu","value":1},{"target":"web1"}]`)
	if w.Code != 200 || out.Taken != 1 || len(out.Failed) != 2 || out.Error != nil {
		t.Fatalf("%d %+v, want one taken and two failed", w.Code, out)
	}
	for i, at := range []string{"[1]", "[2]"} {
		if out.Failed[i].At != at {
			t.Errorf("failed[%d] at %q, want %q: %+v", i, out.Failed[i].At, at, out.Failed)
		}
	}
	if got := node.taken(); len(got) != 1 || node.by[0] != "zabbix" {
		t.Errorf("taken: %+v by %v", got, node.by)
	}
	text := string(s.write(populated(1, 1), epoch, 0))
	for _, want := range []string{`{result="taken"} 1`, `{result="refused"} 2`} {
		if !strings.Contains(text, "steelyard_http_pushed_metrics_total"+want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

func TestNothingOfABatch(t *testing.T) {
	node := &fakeNode{refuse: func(core.Sample) error { return errRefused }}
	s := pusher(t, node)
	w, out := post(t, s, "/v1/alerts", `{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"a","backend":"b"}}]}`)
	if w.Code != http.StatusUnprocessableEntity || out.Error == nil || out.Error.Message != "alerts[0]: no such backend" {
		t.Errorf("%d %s, want 422 that names the place and the cause", w.Code, w.Body)
	}
	if w, out := post(t, s, "/v1/metrics", `{`); w.Code != 400 || out.Error == nil || out.Error.Hint == "" {
		t.Errorf("%d %s, want 400 with a remedy", w.Code, w.Body)
	}
	if w, out := post(t, s, "/v1/metrics", `[]`); w.Code != 200 || out.Taken != 0 {
		t.Errorf("an empty list: %d %s, want 200", w.Code, w.Body)
	}
}

// Of a batch of which nothing was taken the error of the whole is the first in the order of
// the list, whoever found it, and says how many more there are. A body that is one entry has
// no place in a list.
func TestWhatIsWrongIsInOrder(t *testing.T) {
	node := &fakeNode{refuse: func(s core.Sample) error {
		switch s.Backend.Backend {
		case "nobody":
			return &UnmatchedError{"no backend nobody"}
		case "often":
			return ErrBusy
		}
		return errRefused
	}}
	s := pusher(t, node)
	tests := map[string]struct{ path, body, message, places string }{
		"two finders":     {"/v1/metrics", `[{"target":"b","name":"cpu","value":1},{"target":"b"},{"target":"b","name":"cpu","value":1}]`, "[0]: no such backend; 2 more failed", "[0] [1] [2]"},
		"the other first": {"/v1/metrics", `[{"target":"b"},{"target":"b","name":"cpu","value":1}]`, "[0]: value: is missing; 1 more failed", "[0] [1]"},
		"unmatched too":   {"/v1/metrics", `[{"target":"nobody","name":"cpu","value":1},{"target":"b"}]`, "[1]: value: is missing; 1 more failed", "[1]"},
		"unmatched only":  {"/v1/metrics", `[{"target":"nobody","name":"cpu","value":1},{"target":"nobody","name":"cpu","value":1}]`, "[0]: no backend nobody; 1 more failed", ""},
		"busy":            {"/v1/metrics", `[{"target":"b"},{"target":"often","name":"cpu","value":1}]`, "[1]: too many metrics at a time; 1 more failed", "[0] [1]"},
		"alone":           {"/v1/metrics", `{"target":"b","name":"cpu","value":1}`, "no such backend", ""},
		"alerts": {"/v1/alerts", `{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"a","backend":"b"}},{"status":"resolved","labels":{"alertname":"a","backend":"b"}},{"status":"x"}]}`,
			"alerts[0]: no such backend; 2 more failed", "alerts[0] alerts[1] alerts[2]"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w, out := post(t, s, tt.path, tt.body)
			var places []string
			for _, f := range out.Failed {
				places = append(places, f.At)
			}
			if out.Error == nil || out.Error.Message != tt.message || strings.TrimSpace(strings.Join(places, " ")) != tt.places || strings.Contains(w.Body.String(), `"at":""`) {
				t.Errorf("%d %s, want %q and what failed at %s", w.Code, w.Body, tt.message, tt.places)
			}
		})
	}
}

// What is known here only is taken, and told.
func TestWarningOfWhatIsTaken(t *testing.T) {
	s := pusher(t, &fakeNode{denied: "the NATS refused it"})
	if w, out := post(t, s, "/v1/metrics", `{"target":"b","name":"cpu","value":1}`); w.Code != http.StatusOK || out.Taken != 1 || out.Warning != "the NATS refused it" {
		t.Errorf("%d %s, want 200 with a warning", w.Code, w.Body)
	}
	if w, out := post(t, s, "/v1/metrics", `[]`); out.Warning != "" {
		t.Errorf("nothing was taken, and it is said where that is known: %s", w.Body)
	}
}

// A target that is no backend is told, and is neither taken nor wrong.
func TestUnmatchedTargets(t *testing.T) {
	node := &fakeNode{refuse: func(s core.Sample) error {
		if s.Backend.Backend == "web/b9" {
			return fmt.Errorf("push: %w", &UnmatchedError{"no backend web/b9; service web has b1, b2"})
		}
		return nil
	}}
	s := pusher(t, node)
	w, out := post(t, s, "/v1/metrics", `[{"target":"web/b9","name":"cpu","value":1},{"target":"web/b1","name":"cpu","value":1},{"target":"web/b1"}]`)
	want := []failure{{At: "[0]", Error: "push: no backend web/b9; service web has b1, b2"}}
	if diff := cmp.Diff(want, out.Unmatched, cmp.AllowUnexported(failure{})); diff != "" || w.Code != http.StatusOK || out.Taken != 1 || len(out.Failed) != 1 || out.Error != nil {
		t.Errorf("%d %s, want one of each; unmatched (-want +got):\n%s", w.Code, w.Body, diff)
	}
	for path, body := range map[string]string{
		"/v1/metrics": `{"target":"web/b9","name":"cpu","value":1}`,
		"/v1/alerts":  `{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"a","target":"web/b9"}}]}`,
	} {
		w, out := post(t, s, path, body)
		if w.Code != http.StatusUnprocessableEntity || out.Error == nil || out.Error.Code != "unmatched" || out.Error.Hint == "" || len(out.Unmatched) != 1 ||
			!strings.Contains(out.Error.Message, "service web has b1, b2") {
			t.Errorf("%s: %d %s, want 422 that names the target and what there is", path, w.Code, w.Body)
		}
	}
	if w, out := post(t, s, "/v1/metrics", `[{"target":"web/b9","name":"cpu","value":1},{"target":"web/b9"}]`); w.Code != http.StatusUnprocessableEntity || out.Error.Code != "refused" || len(out.Unmatched) != 1 {
		t.Errorf("%d %s, want 422 for what is wrong, and the other told", w.Code, w.Body)
	}
}

func TestPackedBodiesAreRefused(t *testing.T) {
	s := pusher(t, &fakeNode{})
	r := httptest.NewRequest(http.MethodPost, "/v1/metrics", strings.NewReader("1"))
	r.Header.Set("Authorization", "Bearer t")
	r.Header.Set("Content-Encoding", "gzip")
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, r)
	if w.Code != http.StatusUnsupportedMediaType || !strings.Contains(w.Body.String(), "content_encoding") {
		t.Errorf("%d %s, want 415 and the remedy", w.Code, w.Body)
	}
}

func TestFloodIsToldToComeBack(t *testing.T) {
	s := pusher(t, &fakeNode{refuse: func(core.Sample) error { return fmt.Errorf("publish: %w", ErrBusy) }})
	w, _ := post(t, s, "/v1/metrics", `{"target":"web1","name":"cpu","value":1}`)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d, want 429 with Retry-After: %s", w.Code, w.Body)
	}
}

func FuzzMetrics(f *testing.F) {
	for _, seed := range []string{
		`0.42`, `[1,2]`, `{"target":"web/web1","name":"cpu","value":0.42}`, `{"metrics":[{"fields":{"v":1},"name":"n","tags":{"host":"h"},"timestamp":1}]}`,
		`{"specversion":"1.0","data":[{"target":"a","name":"n","value":1}]}`, `{"target":"a","metrics":{"x":{"value":1,"window_seconds":1e300}}}`,
		`{"fields":{},"name":"","tags":null,"timestamp":99999999999999999999}`,
	} {
		f.Add([]byte(seed), "target=web1&name=cpu")
	}
	f.Fuzz(func(t *testing.T, body []byte, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		got, err := decodeMetrics(body, http.Header{}, q, "fuzz", epoch)
		if err != nil && len(got.samples) > 0 {
			t.Errorf("error %v and %d samples", err, len(got.samples))
		}
		for _, p := range got.samples {
			if len(p.Metrics) == 0 || p.Probe == "" || p.Backend.Backend == "" || p.Role != core.MetricRole {
				t.Errorf("taken: %+v", p.Sample)
			}
		}
	})
}

func FuzzAlerts(f *testing.F) {
	f.Add([]byte(`{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"a","instance":"[::1]:1"},"annotations":{"steelyard_value":"1e400"}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, _ := decodeAlerts(body, epoch)
		for _, p := range got.samples {
			if len(p.Metrics) != 1 || p.Probe == "" || p.Backend.Backend == "" {
				t.Errorf("taken: %+v", p.Sample)
			}
		}
	})
}
