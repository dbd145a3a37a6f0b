// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

func TestGate(t *testing.T) {
	var g gate
	count := func(source string, tries int, at time.Time) int {
		n := 0
		for range tries {
			if g.allow(source, 1, at) {
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		what   string
		source string
		after  time.Duration
		want   int
	}{
		{"a burst", "zabbix", 0, metricBurst},
		{"another one at the same time", "nagios", 0, metricBurst},
		{"a second later", "zabbix", time.Second, metricRate},
		{"in the same second", "zabbix", time.Second, 0},
		{"our clock went back", "zabbix", 0, 0},
		{"half a second later", "zabbix", 1500 * time.Millisecond, metricRate / 2},
		{"after an hour of silence", "zabbix", time.Hour, metricBurst},
	} {
		if got := count(step.source, 2*metricBurst, noon.Add(step.after)); got != step.want {
			t.Errorf("%s: %d passed, want %d", step.what, got, step.want)
		}
	}
	// A list is let in as a whole, and paid for by what follows.
	later := noon.Add(2 * time.Hour)
	if !g.allow("nagios", 1, later) {
		t.Error("a list was held back")
	}
	g.charge("nagios", 2*metricBurst)
	if got := count("nagios", 1, later.Add(4*time.Second)); got != 0 {
		t.Error("the next message passed before the list was paid for")
	}
	if got := count("nagios", 1, later.Add(time.Minute)); got != 1 {
		t.Error("a minute later it did not pass")
	}
}

func TestGateIsBounded(t *testing.T) {
	var g gate
	for i := range maxSources {
		if !g.allow(fmt.Sprint(i), 1, noon) {
			t.Fatalf("source %d", i)
		}
	}
	if g.allow("one more", 1, noon) {
		t.Error("there is room for any number of sources")
	}
	if !g.allow("one more", 1, noon.Add(time.Minute)) {
		t.Error("sources that were silent make no room")
	}
	if n := len(g.buckets); n != 1 {
		t.Errorf("%d sources are remembered, want 1", n)
	}
}

// TestListsArePaidFor: each reading of a list counts as a message.
func TestListsArePaidFor(t *testing.T) {
	b, err := Start(t.Context(), Options{Node: "lb1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	taken := 0
	in := &intake{bus: b, fn: func(core.Sample) { taken++ }}
	m := &nats.Msg{Subject: "steelyard.v1.metric.zabbix.web1.cpu", Data: []byte("[1" + strings.Repeat(",1", MaxBatch-1) + "]"), Sub: &nats.Subscription{}}
	lists, begin := 0, time.Now()
	for in.pass(m) {
		in.metric(m)
		lists++
	}
	most := (metricBurst+int(time.Since(begin).Seconds()*metricRate))/MaxBatch + 1
	if lists == 0 || lists > most || taken != lists*MaxBatch {
		t.Errorf("%d lists with %d readings passed, want %d at most", lists, taken, most)
	}
	if n := b.Stats().Flooded; n != 1 {
		t.Errorf("%d messages flooded, want 1", n)
	}
}

// TestLongMessagesArePaidFor: what is long takes as long to read whatever is in it.
func TestLongMessagesArePaidFor(t *testing.T) {
	b, err := Start(t.Context(), Options{Node: "lb1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	for _, body := range []string{"[1%s]", `{"value":1,"more":[1%s]}`, `{"specversion":"1.0","data":[1%s]}`} {
		in := &intake{bus: b, fn: func(core.Sample) {}}
		data := fmt.Sprintf(body, strings.Repeat(",1", 30_000))
		m := &nats.Msg{Subject: "steelyard.v1.metric.zabbix.web1.cpu", Data: []byte(data), Sub: &nats.Subscription{}}
		n, begin := 0, time.Now()
		for in.pass(m) {
			n++
		}
		took := time.Since(begin).Seconds()
		if most := (metricBurst+int(took*metricRate))/(len(data)>>10) + 1; n == 0 || n > most {
			t.Errorf("%.20s: %d of %d bytes passed, want %d at most", body, n, len(data), most)
		}
	}
}

func TestSourceToken(t *testing.T) {
	for subject, want := range map[string]string{
		"steelyard.v1.metric.zabbix.web1.cpu": "zabbix",
		"steelyard.v1.metric.a=2Eb.web1.cpu":  "a=2Eb",
		"steelyard.v1.metric.zabbix":          "zabbix",
		"steelyard.v1.metric.":                "",
	} {
		if got := sourceToken(subject); got != want {
			t.Errorf("%s: %q, want %q", subject, got, want)
		}
	}
}
