// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

func TestCloudEvent(t *testing.T) {
	r := newReceiver(t, nil)
	cfg := hookFor(r, "pager")
	cfg.Headers = []core.Header{{Name: "Authorization", Value: "Bearer x"}, {Name: "Host", Value: "pager.example.org"}}
	bus := &fakeBus{}
	s := running(t, bus, cfg)
	bus.publish(healthSubject, healthBody)
	p := r.next(t)
	var got cloudEvent
	if err := json.Unmarshal([]byte(p.body), &got); err != nil {
		t.Fatalf("%s: %v", p.body, err)
	}
	want := cloudEvent{SpecVersion: "1.0", ID: p.header.Get("Webhook-Id"), Source: "/steelyard/nodes/lb1", Type: "steelyard.v1.health", Subject: healthSubject,
		Time: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC), ContentType: "application/json", Data: json.RawMessage(healthBody)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{"Content-Type": "application/cloudevents+json; charset=utf-8", "Authorization": "Bearer x", "Webhook-Signature": ""} {
		if got := p.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	await(t, "the count", func() bool { return s.View()[0].Sent == 1 })
	v := s.View()[0]
	if v.Name != "pager" || v.Host != r.URL || v.LastError != "" || v.LastAt.IsZero() {
		t.Errorf("view: %+v", v)
	}
}

// The example of the Standard Webhooks specification.
func TestSignature(t *testing.T) {
	key, err := signingKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
}

func TestSigned(t *testing.T) {
	r := newReceiver(t, nil)
	cfg := hookFor(r, "pager")
	cfg.Secret = "a plain secret"
	bus := &fakeBus{}
	running(t, bus, cfg)
	bus.publish(healthSubject, healthBody)
	p := r.next(t)
	at := p.header.Get("Webhook-Timestamp")
	if want := "v1," + Sign([]byte("a plain secret"), p.header.Get("Webhook-Id"), at, []byte(p.body)); p.header.Get("Webhook-Signature") != want {
		t.Errorf("signature %q, want %q", p.header.Get("Webhook-Signature"), want)
	}
}

// A receiver that fails gets the same message again, and then those behind it in order.
func TestRetries(t *testing.T) {
	r := newReceiver(t, nil)
	r.answer = func(w http.ResponseWriter, _ *http.Request, n int) {
		if n == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
	bus := &fakeBus{}
	s := running(t, bus, hookFor(r, "pager"))
	for i := range 3 {
		bus.publish(healthSubject, fmt.Sprintf(`{"n":%d}`, i))
	}
	await(t, "three messages", func() bool { return s.View()[0].Sent == 3 })
	var ids, data []string
	for range 4 {
		p := r.next(t)
		var e cloudEvent
		if err := json.Unmarshal([]byte(p.body), &e); err != nil {
			t.Fatal(err)
		}
		ids, data = append(ids, p.header.Get("Webhook-Id")), append(data, string(e.Data))
	}
	if got := strings.Join(data, " "); got != `{"n":0} {"n":0} {"n":1} {"n":2}` || ids[0] != ids[1] || ids[1] == ids[2] {
		t.Errorf("sent %s with ids %v, want the first twice under one id", got, ids)
	}
	if v := s.View()[0]; v.Retries != 1 || v.Failed != 0 || v.LastError != "" {
		t.Errorf("view: %+v", v)
	}
}

// What is refused for good is not sent again, and holds nobody up.
func TestRefusedForGood(t *testing.T) {
	for _, code := range []int{400, 401, 404, 410, 301, 302, 307, 308} {
		elsewhere := newReceiver(t, nil)
		r := newReceiver(t, nil)
		r.answer = func(w http.ResponseWriter, _ *http.Request, n int) {
			if n == 1 {
				w.Header().Set("Location", elsewhere.URL)
				w.WriteHeader(code)
				fmt.Fprint(w, "not\nlike this")
			}
		}
		bus := &fakeBus{}
		s := running(t, bus, hookFor(r, "pager"))
		bus.publish(healthSubject, `{"n":0}`)
		await(t, "the refusal", func() bool { return s.View()[0].Failed == 1 })
		if v := s.View()[0]; !strings.Contains(v.LastError, fmt.Sprint(code)) || strings.Contains(v.LastError, "hidden") {
			t.Errorf("%d: last error %q", code, v.LastError)
		}
		bus.publish(healthSubject, `{"n":1}`)
		await(t, "the next message", func() bool { return s.View()[0].Sent == 1 })
		if len(r.posts) != 2 || len(elsewhere.posts) != 0 {
			t.Errorf("%d: %d requests, and %d to where it led; want 2 and 0", code, len(r.posts), len(elsewhere.posts))
		}
	}
}

// A hook that hangs delays no other.
// What a receiver says of a request may quote it, and is shown in logs and by status.
func TestAnswerThatQuotesSecrets(t *testing.T) {
	r := newReceiver(t, func(w http.ResponseWriter, req *http.Request, _ int) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, "no route %q, asked by %q with %s and %s", req.URL.Path, req.Header.Get("Authorization"), req.URL.RawQuery, "a signing key")
	})
	cfg := hookFor(r, "chat")
	cfg.URL = core.Secret(r.URL + "/services/T0123456/B0123456%2Fx?token=0123456789")
	cfg.Headers, cfg.Secret = []core.Header{{Name: "Authorization", Value: "Bearer 01234567"}}, "a signing key"
	var b fakeBus
	s := running(t, &b, cfg)
	b.publish(healthSubject, healthBody)
	await(t, "the refusal", func() bool { return s.View()[0].Failed == 1 })
	got := s.View()[0].LastError
	if !strings.Contains(got, "404 Not Found: no route") || strings.Contains(got, "123456") || strings.Contains(got, "signing") {
		t.Errorf("shown is %q", got)
	}
}

func TestHangsAlone(t *testing.T) {
	release := make(chan struct{})
	hanging := newReceiver(t, func(_ http.ResponseWriter, r *http.Request, _ int) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	well := newReceiver(t, nil)
	slow, quick := hookFor(hanging, "slow"), hookFor(well, "quick")
	slow.Timeout = time.Minute
	bus := &fakeBus{}
	s := running(t, bus, slow, quick)
	defer close(release)
	for range 100 {
		bus.publish(healthSubject, healthBody)
	}
	await(t, "the quick one", func() bool { return s.View()[0].Sent == 100 })
	if v := s.View()[1]; v.Sent != 0 || v.Queued != 99 {
		t.Errorf("the slow one: %+v, want 99 that wait", v)
	}
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	r := newReceiver(t, func(_ http.ResponseWriter, req *http.Request, _ int) {
		select {
		case <-release:
		case <-req.Context().Done():
		}
	})
	cfg := hookFor(r, "pager")
	cfg.Timeout, cfg.RetryFor = 50*time.Millisecond, 0
	bus := &fakeBus{}
	s := running(t, bus, cfg)
	bus.publish(healthSubject, healthBody)
	await(t, "the end of the attempt", func() bool { return s.View()[0].Failed == 1 })
	if v := s.View()[0]; v.Retries != 0 || strings.Contains(v.LastError, "hidden") || !strings.Contains(v.LastError, "deadline") && !strings.Contains(v.LastError, "Timeout") && !strings.Contains(v.LastError, "canceled") {
		t.Errorf("view: %+v, want a time-out and no second attempt", v)
	}
}

func TestTLS(t *testing.T) {
	got := make(chan string, 10)
	r := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { got <- req.Host }))
	defer r.Close()
	r.Config.ErrorLog = nil
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	strange := Config{Name: "a-stranger", URL: core.Secret(r.URL), Patterns: []string{"health.>"}}
	known := Config{Name: "known", URL: core.Secret(r.URL), Patterns: []string{"health.>"}, CA: ca}
	bus := &fakeBus{}
	s := running(t, bus, strange, known)
	bus.publish(healthSubject, healthBody)
	await(t, "both", func() bool { v := s.View(); return v[0].Failed == 1 && v[1].Sent == 1 })
	if v := s.View()[0]; !strings.Contains(v.LastError, "certificate") {
		t.Errorf("last error %q, want it to speak of the certificate", v.LastError)
	}
}

// Of a full queue the oldest go, and are counted.
func TestFullQueue(t *testing.T) {
	q := newQueue(3)
	for i := range 5 {
		q.put(message{data: []byte{byte('0' + i)}})
	}
	if waiting, dropped := q.counts(); waiting != 3 || dropped != 2 {
		t.Errorf("%d wait, %d dropped; want 3 and 2", waiting, dropped)
	}
	m, _ := q.take()
	q.putBack(m)
	for want := '2'; want <= '4'; want++ {
		if m, ok := q.take(); !ok || string(m.data) != string(want) {
			t.Errorf("took %q, want %q", m.data, want)
		}
	}
	big := make([]byte, maxQueueBytes/2)
	for range 4 {
		q.put(message{data: big})
	}
	if waiting, _ := q.counts(); waiting != 2 || q.bytes > maxQueueBytes {
		t.Errorf("%d wait with %d bytes, want 2", waiting, q.bytes)
	}
}

// What other nodes say on the same bus is theirs to send; monitors have no node.
func TestOnlyOwn(t *testing.T) {
	r := newReceiver(t, nil)
	cfg := hookFor(r, "pager")
	cfg.Node, cfg.Patterns = "lb1", []string{""}
	bus := &fakeBus{}
	running(t, bus, cfg)
	bus.publish(prefix+"event.error.bus", `{"node":"lb2","message":"other"}`)
	bus.publish(healthSubject, strings.ReplaceAll(healthBody, "lb1", "lb2"))
	bus.publish(prefix+"metric.zabbix.web1.cpu", `{"src":"zabbix","value":1}`)
	bus.publish(prefix+"event.error.bus", `{"node":"lb1","message":"own"}`)
	for _, want := range []string{"zabbix", "own"} {
		if p := r.next(t); !strings.Contains(p.body, want) {
			t.Errorf("sent %s, want that of %s", p.body, want)
		}
	}
}

// What waits at the end is sent, and who does not take it holds nothing up.
func TestLastWords(t *testing.T) {
	r := newReceiver(t, nil)
	bus := &fakeBus{}
	t.Run("run", func(t *testing.T) {
		running(t, bus, hookFor(r, "pager"))
		for range 5 {
			bus.publish(healthSubject, healthBody)
		}
	})
	if len(r.posts) != 5 {
		t.Errorf("%d were sent, want 5", len(r.posts))
	}
	if len(bus.subs) != 0 {
		t.Errorf("%d subscriptions are left", len(bus.subs))
	}
}

// TestEndDuringAMessage: what is under way at the end is not sent twice.
func TestEndDuringAMessage(t *testing.T) {
	begun, release := make(chan struct{}, 10), make(chan struct{}) // one message, and what is sent again
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		begun <- struct{}{}
		<-release
		w.WriteHeader(http.StatusNoContent)
	})
	bus := &fakeBus{}
	s, err := New([]Config{hookFor(r, "pager")}, bus.subscribe, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	await(t, "the subscription", func() bool { bus.mu.Lock(); defer bus.mu.Unlock(); return len(bus.subs) > 0 })
	bus.publish(healthSubject, healthBody)
	<-begun
	cancel()
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if v := s.View()[0]; int(v.Sent) != len(r.posts) {
		t.Errorf("%d came, and %d count as sent", len(r.posts), v.Sent)
	}
}

func TestNewRefuses(t *testing.T) {
	ok := Config{Name: "pager", URL: "https://pager.example.org/x?token=hidden", Patterns: []string{"health.>"}}
	tests := map[string]struct {
		change func(*Config)
		want   string
	}{
		"no URL":         {func(c *Config) { c.URL = "" }, "webhooks.pager.url"},
		"no host":        {func(c *Config) { c.URL = "https:///hidden" }, "webhooks.pager.url"},
		"another scheme": {func(c *Config) { c.URL = "ftp://example.org/hidden" }, "webhooks.pager.url"},
		"a broken URL":   {func(c *Config) { c.URL = "https://hidden:x:y/%zz" }, "webhooks.pager.url"},
		"no events":      {func(c *Config) { c.Patterns = nil }, "webhooks.pager.events"},
		"no such file":   {func(c *Config) { c.CA = "/nonexistent" }, "webhooks.pager.ca"},
		"a bad secret":   {func(c *Config) { c.Secret = "whsec_ hidden" }, "webhooks.pager.secret"},
		"a bad template": {func(c *Config) { c.Template = "{{" }, "webhooks.pager.template"},
	}
	for name, tt := range tests {
		cfg := ok
		tt.change(&cfg)
		_, err := New([]Config{cfg}, (&fakeBus{}).subscribe, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v, want %q, and nothing of the URL", name, err, tt.want)
		}
	}
	if _, err := New([]Config{ok}, (&fakeBus{}).subscribe, nil); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func TestPatternThatTheBusRefuses(t *testing.T) {
	s, err := New([]Config{{Name: "x", URL: "http://127.0.0.1:1", Patterns: []string{"nope"}}},
		func(string, func(string, []byte)) (func(), error) { return nil, fmt.Errorf("unknown class") }, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range s.follow(s.hooks[0]) {
		c()
	}
	if v := s.View()[0]; !strings.Contains(v.LastError, "follow nope: unknown class") {
		t.Errorf("view: %+v", v)
	}
}

func TestNilSender(t *testing.T) {
	var s *Sender
	if err := s.Run(t.Context()); err != nil || s.View() != nil {
		t.Errorf("Run %v, View %v", err, s.View())
	}
}

func FuzzRequest(f *testing.F) {
	for _, m := range samples {
		f.Add(m.subject, m.data)
	}
	h, err := newHook(Config{Name: "x", URL: "http://127.0.0.1", Patterns: []string{">"}, Template: `{"text":{{json .Text}},"s":{{json .Severity}}}`})
	if err != nil {
		f.Fatal(err)
	}
	plain, err := newHook(Config{Name: "x", URL: "http://127.0.0.1", Patterns: []string{">"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		for _, h := range []*hook{h, plain} {
			if r, ok := h.request(message{subject, data, time.Unix(0, 0)}); !ok || !json.Valid(r.body) {
				t.Errorf("%q %q: %s", subject, data, r.body)
			}
		}
	})
}
