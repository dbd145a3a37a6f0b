// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
)

// A logBuffer takes what a logger writes.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// TestDropsAreTold: a monitor that gets something wrong finds out what, without
// a line for each of its samples.
func TestDropsAreTold(t *testing.T) {
	log := &logBuffer{}
	b := bustest.StartWith(t, bus.Options{Node: bustest.Node, Listen: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(log, nil)),
		Users: []bus.User{{Name: "zabbix", Password: "secret"}}})
	collect(t, b)
	nc, _ := dial(t, b, "zabbix", "secret")
	subject := bus.MetricSubject("zabbix", core.BackendID{Service: "web", Backend: "web1"}, "load")
	send := func(body []byte) {
		if err := nc.Publish(subject, body); err != nil {
			t.Fatal(err)
		}
	}
	old := strings.Replace(string(metricBody("zabbix")), fmt.Sprint(time.Now().Year()), fmt.Sprint(time.Now().Year()-1), 1)
	old = strings.Replace(old, `"v":1`, `"v":1,"ttl_ms":1000`, 1)
	m := bustest.Expect(t, b, "event.>", func() {
		for range 100 {
			send([]byte("{"))
		}
		send(metricBody("somebody"))
		send(metricBody("zabbix"))
		send([]byte(old))
	}, func(m bustest.Message) bool {
		e, ok := m.Body.(bus.EventBody)
		return ok && strings.Contains(e.Message, "late")
	})
	if !strings.Contains(m.Subject, "event.warn.bus") {
		t.Errorf("subject %s", m.Subject)
	}
	for _, r := range []string{"invalid", "mismatched", "late"} {
		if n := log.count("reason=" + r + " "); n != 1 {
			t.Errorf("%d lines about %s samples, want 1:\n%s", n, r, log.b.String())
		}
	}
	if s := b.Stats(); s.Invalid != 100 || s.Mismatched != 1 || s.Late != 1 {
		t.Errorf("stats %+v", s)
	}
}
