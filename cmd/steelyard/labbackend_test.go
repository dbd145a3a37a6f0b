// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestLabBackendAnswers(t *testing.T) {
	b := labBackend{name: "web7", work: ms}
	q := newQuota(1, time.Now(), processCPU())
	before := processCPU()
	w := httptest.NewRecorder()
	b.handler(q).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	body, _ := io.ReadAll(w.Result().Body)
	if got := w.Result().Header.Get(backendHeader); got != "web7" || !strings.Contains(string(body), "web7") {
		t.Errorf("answered as %q: %s", got, body)
	}
	if used := processCPU().total() - before.total(); used < ms {
		t.Errorf("the request cost %v of CPU, want 1 ms or more", used)
	}
}

// TestLabBackendHealth: a backend whose queue is full is busy, not dead.
func TestLabBackendHealth(t *testing.T) {
	q := newQuota(0.001, time.Now(), processCPU())
	q.turn <- struct{}{} // somebody works, and does not end
	w := httptest.NewRecorder()
	labBackend{name: "web7"}.handler(q).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	if w.Code != http.StatusOK {
		t.Errorf("health answered %d", w.Code)
	}
}
