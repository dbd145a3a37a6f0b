// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// FuzzRequest asks anything of the server: it must answer in JSON, and with a
// message if it refuses.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{"/v1/node", "/v1/services/web", "/v1/services/wbe", "/v1/services/%2e%2e", "/v1/decisions?service=web&last=2",
		"/v1/decisions?service=web&last=-1", "/v1/decisions?service=%zz", "/v1/stop?flush=maybe", "/v1/reload", "/v1/backends/web/web1/cut", "/v1/backends/web//override", "/v1/version", "/v1/metrics", "/v1/monitor?pattern=bad", "/", "//v1/node", "/v2"} {
		f.Add("GET", s)
		f.Add("POST", s)
	}
	// A stream ends at once, so that it can be read to its end.
	ended, cancel := context.WithCancel(f.Context())
	cancel()
	h := (&Server{Node: testNode()}).handler(ended)
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		r := &http.Request{Method: method, URL: u, RequestURI: target, Header: http.Header{}, Host: "steelyard", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 300 && w.Code < 400 || w.Body.Len() == 0 && w.Code == http.StatusOK {
			return // ServeMux sends unclean paths to the clean one; a stream without lines
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %q: status %d, body %q is not JSON", method, target, w.Code, w.Body)
		}
		if w.Code == http.StatusOK {
			return
		}
		if e := readError(w.Code, w.Body); e.Code == "" || strings.HasPrefix(e.Message, "the daemon answered with status") {
			t.Fatalf("%s %q: status %d without an error in the body", method, target, w.Code)
		}
	})
}

// FuzzOverride reads anything as the body of an override: what is taken can be
// put in force.
func FuzzOverride(f *testing.F) {
	f.Add([]byte(`{"kind":"drain","author":"alice","reason":"kernel update","for_seconds":1800}`))
	f.Add([]byte(`{"kind":"weight","weight":1000,"author":"a"}`))
	f.Add([]byte(`{"kind":"ready","author":"a"} {}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := readOverride(bytes.NewReader(data))
		if err != nil {
			return
		}
		o, set, err := req.Override(time.Now())
		if err == nil && set && (o.Check() != nil || o.Over(time.Now().Add(-time.Hour))) {
			t.Fatalf("%q is taken as %+v", data, o)
		}
	})
}

// FuzzMetrics reads anything as the body of a push: what is taken is a number with a
// name, of a target.
func FuzzMetrics(f *testing.F) {
	f.Add([]byte(`{"source":"cron","metrics":[{"target":"web/web1","name":"queue","value":12,"unit":"count","window_seconds":60,"at":"2026-01-02T15:04:05Z"}]}`))
	f.Add([]byte(`{"source":"","metrics":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := readUpTo[MetricsRequest](bytes.NewReader(data), maxMetrics)
		if err != nil {
			return
		}
		for _, r := range req.Metrics {
			s, err := r.sample(time.Unix(1, 0))
			if err == nil && (s.Backend.Backend == "" || s.Probe == "" || len(s.Metrics) != 1 || s.Metrics[0].Window < 0) {
				t.Fatalf("%q is taken as %+v", data, s)
			}
		}
	})
}

// FuzzAnswer reads anything as what a server says.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"error":{"code":"x","message":"m","hint":"h"}}`))
	f.Add([]byte(`{"subject":"a","at":"2026-01-02T15:04:05Z","data":{}}` + "\n" + `{"dropped":3}` + "\n"))
	f.Add([]byte("null\n"))
	f.Add([]byte(`{"error":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if e := readError(500, strings.NewReader(string(data))); e.Message == "" || e.Status != 500 {
			t.Fatalf("error without a message: %+v", e)
		}
		if err := readLines("monitor", strings.NewReader(string(data)), func(Line) error { return nil }); err == nil {
			t.Fatal("a stream that ended without an error")
		}
	})
}
