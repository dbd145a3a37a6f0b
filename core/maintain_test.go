// SPDX-License-Identifier: Apache-2.0

package core

import (
	"testing"
	"time"
	_ "time/tzdata" // the zones of the tests, wherever they run

	"pgregory.net/rapid"
)

func at(t *testing.T, zone, s string) time.Time {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	out, err := time.ParseInLocation("2006-01-02 15:04", s, loc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const (
	berlin  = "Europe/Berlin"
	newYork = "America/New_York"
	hour    = time.Hour
	minute  = time.Minute
)

// 29 March 2026 has no 02:00 to 03:00 in Berlin, and 25 October has it twice; in New
// York these are 8 March and 1 November.
func TestMaintenanceIn(t *testing.T) {
	tests := []struct {
		name       string
		m          Maintenance
		from, for_ string // when it begins, in its zone, and how long it lasts
	}{
		{"once", Maintenance{Start: at(t, berlin, "2026-05-01 22:00"), End: at(t, berlin, "2026-05-02 04:00"), Zone: berlin}, "2026-05-01 22:00", "6h"},
		{"every day", Maintenance{From: 3 * hour, To: 4 * hour, Zone: berlin}, "2026-05-01 03:00", "1h"},
		{"over midnight", Maintenance{From: 23 * hour, To: 2 * hour, Zone: berlin}, "2026-05-01 23:00", "3h"},
		{"a whole day", Maintenance{Days: []time.Weekday{time.Friday}, Zone: berlin}, "2026-05-01 00:00", "24h"},
		{"a short night", Maintenance{From: 1 * hour, To: 4 * hour, Zone: berlin}, "2026-03-29 01:00", "2h"},
		{"a long night", Maintenance{From: 1 * hour, To: 4 * hour, Zone: berlin}, "2026-10-25 01:00", "4h"},
		{"ends in a time that is not", Maintenance{From: 1 * hour, To: 2*hour + 30*minute, Zone: berlin}, "2026-03-29 01:00", "1h"},
		{"the same west of Greenwich", Maintenance{From: 1 * hour, To: 2*hour + 30*minute, Zone: newYork}, "2026-03-08 01:00", "1h"},
		{"begins in a time that is not", Maintenance{From: 2*hour + 30*minute, To: 5 * hour, Zone: newYork}, "2026-03-08 03:00", "2h"},
		{"ends in a time that comes twice", Maintenance{From: 0, To: 2*hour + 30*minute, Zone: berlin}, "2026-10-25 00:00", "3h30m"},
		{"the same in New York", Maintenance{From: 0, To: 1*hour + 30*minute, Zone: newYork}, "2026-11-01 00:00", "2h30m"},
		{"a Sunday that begins on Saturday", Maintenance{Days: []time.Weekday{time.Saturday}, From: 22 * hour, To: 6 * hour, Zone: berlin}, "2026-10-24 22:00", "9h"},
	}
	for _, tt := range tests {
		begin := at(t, tt.m.Zone, tt.from)
		lasts, _ := time.ParseDuration(tt.for_)
		end := begin.Add(lasts)
		for _, x := range []time.Time{begin, begin.Add(lasts / 2), end.Add(-time.Second)} {
			if until, in := tt.m.In(x.UTC()); !in || !until.Equal(end) {
				t.Errorf("%s: at %s in %t until %s, want until %s", tt.name, x, in, until, end)
			}
		}
		for _, x := range []time.Time{begin.Add(-time.Second), end} {
			if until, in := tt.m.In(x); in {
				t.Errorf("%s: at %s in, until %s", tt.name, x, until)
			}
		}
		if got := tt.m.Next(begin.Add(-time.Second)); !got.Equal(begin) {
			t.Errorf("%s: the next change is at %s, want %s", tt.name, got, begin)
		}
		if got := tt.m.Next(begin); !got.Equal(end) {
			t.Errorf("%s: the change after is at %s, want %s", tt.name, got, end)
		}
	}
}

// A window that lies in an hour that a night leaves out does not take place, whatever
// the side of Greenwich.
func TestMaintenanceOfAnHourThatIsNot(t *testing.T) {
	for zone, night := range map[string]string{berlin: "2026-03-29 00:00", newYork: "2026-03-08 00:00"} {
		m := Maintenance{From: 2*hour + 15*minute, To: 2*hour + 45*minute, Zone: zone}
		begin := at(t, zone, night)
		for d := time.Duration(0); d < 20*hour; d += minute {
			if until, in := m.In(begin.Add(d)); in {
				t.Fatalf("%s: at %s in until %s", zone, begin.Add(d), until)
			}
		}
		if next := m.Next(begin); next.Sub(begin) != 25*hour+15*minute {
			t.Errorf("%s: the next one begins %s later", zone, next.Sub(begin))
		}
	}
	once := Maintenance{Start: at(t, berlin, "2026-05-01 22:00"), End: at(t, berlin, "2026-05-02 04:00")}
	if next := once.Next(once.End); !next.IsZero() {
		t.Errorf("after the last: %s", next)
	}
}

// Next is what it says: between a time and its Next nothing changes, and there it does.
func TestMaintenanceNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Maintenance{
			From: time.Duration(rapid.IntRange(0, 24*60-1).Draw(t, "from")) * minute,
			To:   time.Duration(rapid.IntRange(0, 24*60-1).Draw(t, "to")) * minute,
			Zone: rapid.SampledFrom([]string{berlin, newYork, "Australia/Lord_Howe", "UTC", "Asia/Kathmandu"}).Draw(t, "zone"),
		}
		for d := time.Sunday; d <= time.Saturday; d++ {
			if rapid.Bool().Draw(t, "day") {
				m.Days = append(m.Days, d)
			}
		}
		x := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 365*24*60).Draw(t, "minute")) * minute)
		next := m.Next(x)
		if !next.After(x) || next.Sub(x) > 9*24*hour {
			t.Fatalf("%+v: after %s comes %s", m, x, next)
		}
		_, in := m.In(x)
		for k := 1; k <= 8; k++ {
			between := x.Add(next.Sub(x) * time.Duration(k) / 9)
			if until, now := m.In(between); now != in {
				t.Fatalf("%+v: in %t at %s, %t at %s (until %s), although the next change is at %s", m, in, x, now, between, until, next)
			}
		}
		until, in := m.In(x)
		if in && next.After(until) {
			t.Fatalf("%+v: at %s until %s, and the next change is at %s", m, x, until, next)
		}
	})
}

func TestMaintenanceCovers(t *testing.T) {
	id := BackendID{"web", "web1"}
	for pattern, want := range map[string]bool{"web/web1": true, "web/*": true, "*/web1": true, "*/*": true, "api/*": false, "web/web2": false, "web": false, "*/web": false} {
		if got := (Maintenance{Backends: []string{"x/y", pattern}}).Covers(id); got != want {
			t.Errorf("%s covers %s: %t", pattern, id, got)
		}
	}
}

func TestMaintenanceNote(t *testing.T) {
	m := Maintenance{Name: "kernel-updates", Reason: "kernel update", Zone: berlin}
	until := at(t, berlin, "2026-05-02 04:00")
	if got, want := m.Note(until.UTC(), until.Add(-hour)), "maintenance kernel-updates: kernel update, until 04:00"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	m.Reason = ""
	if got, want := m.Note(until, until.Add(-48*hour)), "maintenance kernel-updates, until 2026-05-02 04:00"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
