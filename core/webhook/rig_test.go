// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A fakeBus hands messages to who follows their pattern, of which only a class and >
// are understood here.
type fakeBus struct {
	mu   sync.Mutex
	subs map[int]sub
	next int
}

type sub struct {
	pattern string
	fn      func(string, []byte)
}

func (b *fakeBus) subscribe(pattern string, fn func(string, []byte)) (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = make(map[int]sub)
	}
	id := b.next
	b.next++
	b.subs[id] = sub{pattern, fn}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.subs, id)
	}, nil
}

func (b *fakeBus) publish(subject, data string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subs {
		if strings.HasPrefix(subject, prefix+strings.TrimSuffix(s.pattern, ">")) {
			s.fn(subject, []byte(data))
		}
	}
}

// A post is one request that a receiver got.
type post struct {
	header http.Header
	body   string
}

// A receiver keeps what it gets, and answers what answer says; nil: 204.
type receiver struct {
	*httptest.Server
	posts  chan post // capacity for all of a test
	answer func(w http.ResponseWriter, r *http.Request, n int)
}

func newReceiver(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, n int)) *receiver {
	r := &receiver{posts: make(chan post, 10000), answer: answer}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.posts <- post{req.Header, string(body)}
	if r.answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	r.answer(w, req, len(r.posts))
}

// running runs a sender until the test ends, and waits until it follows its subjects.
func running(t *testing.T, b *fakeBus, hooks ...Config) *Sender {
	t.Helper()
	s, err := New(hooks, b.subscribe, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v, want nil", err)
		}
	})
	want := 0
	for _, h := range hooks {
		want += len(h.Patterns)
	}
	await(t, "the subscriptions", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.subs) == want
	})
	return s
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

func (r *receiver) next(t *testing.T) post {
	t.Helper()
	select {
	case p := <-r.posts:
		return p
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was sent")
		return post{}
	}
}

func hookFor(r *receiver, name string) Config {
	return Config{Name: name, URL: core.Secret(r.URL + "/hook?token=hidden"), Patterns: []string{"health.>"}, RetryFor: time.Hour}
}

const (
	healthSubject = prefix + "health.web.web1"
	healthBody    = `{"v":1,"src":"lb1","ts":"2026-01-02T15:04:05Z","service":"web","backend":"web1","from":"up","to":"down","probe":"http","code":"L4CON","detail":"refused"}`
)
