// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// A script answers one request after the other, without a network: fake time does not
// pass while one is under way.
type script struct {
	answers []string // "500", "429 120", "error"; the last one for ever
	at      []time.Time
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	answer := s.answers[min(len(s.at), len(s.answers)-1)]
	s.at = append(s.at, time.Now())
	code, after, _ := strings.Cut(answer, " ")
	if code == "error" {
		return nil, errors.New("connection refused")
	}
	status := map[string]int{"200": 200, "500": 500, "503": 503, "429": 429, "400": 400}[code]
	return &http.Response{StatusCode: status, Status: code, Header: http.Header{"Retry-After": {after}}, Body: http.NoBody, Request: r}, nil
}

// scripted runs a hook with a script for a time, and returns it.
func scripted(t *testing.T, s *script, retryFor, during time.Duration, messages int) *hook {
	t.Helper()
	h, err := newHook(Config{Name: "x", URL: "http://example.org", Patterns: []string{">"}, RetryFor: retryFor})
	if err != nil {
		t.Fatal(err)
	}
	h.client.Transport = s
	for range messages {
		h.queue.put(message{healthSubject, []byte(healthBody), time.Now()})
	}
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer cancel()
	h.run(ctx, slog.New(slog.DiscardHandler))
	return h
}

func TestWaitsGrow(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		s := &script{answers: []string{"error", "500"}}
		h := scripted(t, s, time.Hour, 2*time.Hour, 1)
		if v := h.view(); v.Failed != 1 || v.Sent != 0 {
			t.Errorf("view: %+v, want it given up after an hour", v)
		}
		if last := s.at[len(s.at)-1].Sub(s.at[0]); last > time.Hour || last < time.Hour-longest {
			t.Errorf("the last attempt came after %s, want about an hour", last)
		}
		for i := 1; i < len(s.at); i++ {
			most := min(firstWait<<min(i-1, 10), longest)
			if wait := s.at[i].Sub(s.at[i-1]); wait < most/2 || wait > most {
				t.Errorf("wait %d is %s, want %s to %s", i, wait, most/2, most)
			}
		}
	})
}

func TestRetryAfter(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		s := &script{answers: []string{"429 120", "200"}}
		h := scripted(t, s, time.Hour, time.Hour, 1)
		if wait := s.at[1].Sub(s.at[0]); wait != 2*time.Minute {
			t.Errorf("came back after %s, want 2 minutes", wait)
		}
		if v := h.view(); v.Sent != 1 || v.Retries != 1 {
			t.Errorf("view: %+v", v)
		}
	})
}

// Messages that are too old are given up one after the other, and not in a burst.
func TestDownForLong(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		s := &script{answers: []string{"error"}}
		h := scripted(t, s, time.Minute, time.Hour, 1000)
		if n := len(s.at); n > 200 || n < 50 {
			t.Errorf("%d attempts in an hour, want about one a minute", n)
		}
		if v := h.view(); v.Failed == 0 || v.Failed+uint64(v.Queued) != 1000 {
			t.Errorf("view: %+v, want all of 1000 accounted for", v)
		}
	})
}

func TestOneAttemptOnly(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		s := &script{answers: []string{"500", "400", "200"}}
		h := scripted(t, s, 0, time.Hour, 3)
		if v := h.view(); v.Failed != 2 || v.Sent != 1 || v.Retries != 0 || len(s.at) != 3 {
			t.Errorf("view %+v after %d attempts, want one each", v, len(s.at))
		}
	})
}

// What was under way at the end is the first again, and is not lost.
func TestEndInAWait(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		s := &script{answers: []string{"500"}}
		h := scripted(t, s, time.Hour, 10*time.Second, 2)
		if v := h.view(); v.Queued != 2 || v.Failed != 0 {
			t.Errorf("view: %+v, want both in the queue", v)
		}
		s.answers = []string{"200"}
		h.empty(t.Context())
		if v := h.view(); v.Sent != 2 {
			t.Errorf("view: %+v, want both sent", v)
		}
	})
}

func TestRetryAfterText(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "Fri, 02 Jan 2026 15:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 15:00:05 GMT": 0,
		"-1": 0, "soon": 0, "99999999999999999999": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
