// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A step is one answer of an agent: seconds since the start and the counters.
type step struct {
	at                 float64
	user, idle, system uint32
	wait, steal        uint32
	uptime             uint32 // 0 means hidden
	cores              int
	want               float64 // busy ratio; -1 means none
	window             float64 // seconds; 0 means not checked
	why                string  // in the reason for no reading
}

func (s step) counters() cpuCounters {
	c := cpuCounters{cores: s.cores, uptime: s.uptime, hasUptime: s.uptime > 0}
	c.ticks[tickUser], c.ticks[tickIdle], c.ticks[tickSystem] = s.user, s.idle, s.system
	c.ticks[tickWait], c.ticks[tickSteal] = s.wait, s.steal
	return c
}

func TestCPUWindow(t *testing.T) {
	const none = -1.0
	plain := cpuWindow{length: 10 * time.Second, expire: 30 * time.Second}
	withWait, withoutSteal := plain, plain
	withWait.includeWait, withoutSteal.excludeSteal = true, true
	tests := []struct {
		name   string
		window cpuWindow
		steps  []step
	}{
		{"the first value needs two changed answers", plain, []step{
			{at: 0, user: 100, idle: 900, want: none, why: "one answer"},
			{at: 5, user: 200, idle: 1300, want: 0.2, window: 5},
			{at: 10, user: 400, idle: 1600, want: 0.3, window: 10},
			{at: 15, user: 900, idle: 1600, want: 0.7, window: 10},
		}},
		{"unchanged counters are no news, not an idle machine", plain, []step{
			{at: 0, user: 100, idle: 900, want: none},
			{at: 1, user: 100, idle: 900, want: none, why: "not moved"},
			{at: 5, user: 350, idle: 1150, want: 0.5, window: 5},
			{at: 6, user: 350, idle: 1150, want: 0.5, window: 5},
			{at: 7, user: 350, idle: 1150, want: 0.5, window: 5},
			{at: 10, user: 850, idle: 1150, want: 0.75, window: 10},
		}},
		{"zeros are no counters", plain, []step{
			{at: 0, want: none, why: "zeros"},
			{at: 5, user: 5000, idle: 90000, want: none, why: "one answer"},
			{at: 10, user: 5250, idle: 90250, want: 0.5},
			{at: 15, want: none, why: "zeros"},
			{at: 20, user: 5500, idle: 90500, want: none, why: "one answer"},
		}},
		{"a wrap is a step forward", plain, []step{
			{at: 0, user: math.MaxUint32 - 99, idle: math.MaxUint32, want: none},
			{at: 5, user: 300, idle: 99, want: 0.8},
		}},
		{"a restart of the agent", plain, []step{
			{at: 0, user: 100, idle: 900, uptime: 5000, want: none},
			{at: 5, user: 200, idle: 1300, uptime: 5500, want: 0.2},
			{at: 10, user: 300, idle: 1700, uptime: 100, want: none, why: "restarted"},
			{at: 15, user: 550, idle: 1950, uptime: 600, want: 0.5, window: 5},
		}},
		{"a reset of the counters", plain, []step{
			{at: 0, user: 100000, idle: 900000, want: none},
			{at: 5, user: 100, idle: 400, want: none, why: "went back"},
			{at: 10, user: 200, idle: 800, want: 0.2},
		}},
		{"Linux corrects iowait downwards", plain, []step{
			{at: 0, user: 100, idle: 900, wait: 50, want: none},
			{at: 5, user: 200, idle: 1300, wait: 45, want: 0.2},
		}},
		{"more ticks than the cores can make", plain, []step{
			{at: 0, user: 100, idle: 900, cores: 1, want: none},
			{at: 5, user: 1101, idle: 900, cores: 1, want: none, why: "more or less than the cores"},
			{at: 10, user: 1351, idle: 1150, cores: 1, want: 0.5, window: 5},
		}},
		{"fewer ticks than the cores make", plain, []step{
			{at: 0, user: 100, idle: 900, cores: 4, want: none},
			{at: 5, user: 200, idle: 1300, cores: 4, want: none, why: "more or less than the cores"},
		}},
		{"two refreshes between two polls", plain, []step{
			{at: 0, user: 100, idle: 900, cores: 1, want: none},
			{at: 5.1, user: 350, idle: 1650, cores: 1, want: 0.25, window: 10},
		}},
		{"without a core count anything goes", plain, []step{
			{at: 0, user: 100, idle: 900, want: none},
			{at: 5, user: 30100, idle: 10900, want: 0.75, window: 5},
		}},
		{"the counters tell the window when the cores are known", plain, []step{
			{at: 0, user: 100, idle: 900, cores: 2, want: none},
			{at: 6.5, user: 350, idle: 1650, cores: 2, want: 0.25, window: 5},
		}},
		{"wait is idle", plain, []step{
			{at: 0, user: 1, idle: 1, want: none},
			{at: 5, user: 101, idle: 201, wait: 100, steal: 100, want: 0.4},
		}},
		{"wait is busy if wished", withWait, []step{
			{at: 0, user: 1, idle: 1, want: none},
			{at: 5, user: 101, idle: 201, wait: 100, steal: 100, want: 0.6},
		}},
		{"steal is nobody's if wished", withoutSteal, []step{
			{at: 0, user: 1, idle: 1, want: none},
			{at: 5, user: 101, idle: 201, wait: 100, steal: 100, want: 0.25},
			{at: 10, user: 101, idle: 201, wait: 100, steal: 600, want: 0.25},
		}},
		{"an answer that is too old is no base", plain, []step{
			{at: 0, user: 100, idle: 900, want: none},
			{at: 3600, user: 100000, idle: 300000, want: none, why: "one answer"},
			{at: 3605, user: 100100, idle: 300400, want: 0.2, window: 5},
		}},
		{"the base is the answer nearest to the wished length", plain, []step{
			{at: 0, user: 100, idle: 900, want: none},
			{at: 5.2, user: 200, idle: 1300, want: 0.2},
			{at: 9.8, user: 300, idle: 1700, want: 0.2},
			{at: 15.1, user: 800, idle: 1700, want: 0.6, window: 9.9},
		}},
	}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := tt.window
			for i, s := range tt.steps {
				at := start.Add(time.Duration(s.at * float64(time.Second)))
				why := w.add(s.counters(), at)
				checkStep(t, i, s, why, w)
			}
		})
	}
}

func checkStep(t *testing.T, i int, s step, why string, w cpuWindow) {
	t.Helper()
	if (why == "") != (s.want >= 0) || !strings.Contains(why, s.why) {
		t.Fatalf("answer %d at %g s: no reading because %q; want %g, reason with %q", i, s.at, why, s.want, s.why)
	}
	if s.want < 0 {
		return
	}
	if math.Abs(w.latest.busy-s.want) > 1e-9 {
		t.Errorf("answer %d at %g s: busy %g, want %g", i, s.at, w.latest.busy, s.want)
	}
	if got := w.latest.window.Seconds(); s.window > 0 && math.Abs(got-s.window) > 1e-6 {
		t.Errorf("answer %d at %g s: over %g s, want %g", i, s.at, got, s.window)
	}
}

func TestCPUWindowDatesItsReading(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w := cpuWindow{length: 10 * time.Second, expire: time.Minute}
	w.add(step{user: 100, idle: 100}.counters(), start)
	changed := start.Add(5 * time.Second)
	w.add(step{user: 200, idle: 200}.counters(), changed)
	w.add(step{user: 200, idle: 200}.counters(), changed.Add(4*time.Second))
	if !w.latest.at.Equal(changed) {
		t.Errorf("reading of %s, want the time when the counters were first seen, %s", w.latest.at, changed)
	}
	if w.refresh != 5*time.Second {
		t.Errorf("agent refresh %s, want 5s", w.refresh)
	}
}

// The first two answers may lie anywhere within two refreshes: how far the counters
// moved tells the time between them, and the clock does not.
func TestCPUWindowFirstRefresh(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		cores int
		apart time.Duration
		want  time.Duration
	}{
		{2, 2500 * time.Millisecond, 5 * time.Second},
		{2, 5 * time.Second, 5 * time.Second},
		{0, 2500 * time.Millisecond, 2500 * time.Millisecond}, // it does not say how many ticks a second has
	} {
		w := cpuWindow{length: 10 * time.Second, expire: time.Minute}
		for i, s := range []step{{user: 100, idle: 100}, {user: 300, idle: 900}} {
			c := s.counters()
			c.cores = tt.cores
			if why := w.add(c, start.Add(time.Duration(i)*tt.apart)); i > 0 && why != "" {
				t.Fatal(why)
			}
		}
		if w.refresh != tt.want {
			t.Errorf("%d cores, answers %s apart: agent refresh %s, want %s", tt.cores, tt.apart, w.refresh, tt.want)
		}
	}
}

// TestCPUWindowProperty feeds a machine of known load, seen by polls at random
// times through an agent that refreshes every 5 s: once there are two changes
// there is a reading at every poll, and it is the load.
func TestCPUWindowProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cores := rapid.IntRange(1, 64).Draw(t, "cores")
		load := rapid.Float64Range(0, 1).Draw(t, "load")
		origin := rapid.Uint32().Draw(t, "origin")
		phase := rapid.Float64Range(0, 5).Draw(t, "phase")
		w := cpuWindow{length: 10 * time.Second, expire: 30 * time.Second}
		start, now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), 0.0
		for i := range 60 {
			now += rapid.Float64Range(4.5, 5.5).Draw(t, "wait")
			seen := 5 + math.Floor((now+phase)/5)*5 // of the agent's latest refresh
			ticks := seen * 100 * float64(cores)
			busy := uint32(ticks * load)
			c := cpuCounters{cores: cores}
			c.ticks[tickUser], c.ticks[tickIdle] = origin+busy, uint32(ticks)-busy
			why := w.add(c, start.Add(time.Duration(now*float64(time.Second))))
			if why != "" && i > 2 { // the third poll has seen two refreshes
				t.Fatalf("poll %d: %s", i, why)
			}
			if why == "" && math.Abs(w.latest.busy-load) > 0.01 {
				t.Fatalf("poll %d: busy %g, want %g", i, w.latest.busy, load)
			}
		}
	})
}

func FuzzCPUWindow(f *testing.F) {
	f.Add(uint32(1), uint32(2), uint32(3), uint32(4), 4, int64(5e9))
	f.Add(uint32(math.MaxUint32), uint32(0), uint32(0), uint32(math.MaxUint32), 0, int64(1))
	f.Fuzz(func(t *testing.T, a, b, c, d uint32, cores int, gap int64) {
		w := cpuWindow{length: 10 * time.Second, expire: 30 * time.Second}
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		for _, s := range []step{{user: a, idle: b}, {user: c, idle: d}, {user: b, idle: c, wait: a}} {
			in := s.counters()
			in.cores = cores
			if why := w.add(in, at); why == "" {
				if b := w.latest.busy; !(b >= 0 && b <= 1) {
					t.Errorf("busy %g after %+v", b, s)
				}
			}
			at = at.Add(time.Duration(gap))
		}
	})
}
