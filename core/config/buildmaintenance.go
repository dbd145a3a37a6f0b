// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// maintenance is sorted by name; nil if there is none.
func (b *builder) maintenance() []core.Maintenance {
	var out []core.Maintenance
	for _, name := range slices.Sorted(maps.Keys(b.raw.Maintenance)) {
		out = append(out, b.window(join("maintenance", name), name, b.raw.Maintenance[name]))
	}
	return out
}

func (b *builder) window(path, name string, r rawMaintenance) core.Maintenance {
	m := core.Maintenance{Name: name, Backends: r.Backends, Reason: r.Reason}
	for i, target := range r.Backends {
		if at := b.item(join(path, "backends"), i); !b.spoilt[at] {
			b.drained(at, target)
		}
	}
	once := b.written(join(path, "start")) || b.written(join(path, "end"))
	again := b.written(join(path, "from")) || b.written(join(path, "to"))
	switch {
	case once && again:
		b.misplaced(b.set(path, "from", "to"), "leave one of them out, or make two of it", "a window is once, from start to end, or again and again, from from to to")
	case once:
		b.once(path, r, &m)
	case again:
		b.again(path, r, &m)
	case !b.spoiltBelow(path):
		b.wrong(path, "start and end for once, or from and to, and days if not every day", "%s says not when", name)
	}
	return m
}

// drained checks what a window names: SERVICE/BACKEND, either of which may be *.
func (b *builder) drained(at, target string) {
	service, backend, _ := strings.Cut(target, "/")
	if service == "*" && backend == "*" {
		b.wrong(at, "name the services", "this would drain every backend of every service")
		return
	}
	services := names(b, "services", b.raw.Services)
	if service == "*" {
		var all []string
		for name, s := range b.raw.Services {
			all = append(all, names(b, join(join("services", name), "backends"), s.Backends)...)
		}
		slices.Sort(all)
		if !slices.Contains(all, backend) {
			b.wrong(at, oneOf(backend, slices.Compact(all)), "no service has a backend %q", backend)
		}
		return
	}
	if !slices.Contains(services, service) {
		b.wrong(at, oneOf(service, services), "unknown service %q", service)
		return
	}
	s := b.raw.Services[service]
	if s == nil {
		return // it has problems of its own
	}
	known := names(b, join(join("services", service), "backends"), s.Backends)
	switch {
	case backend != "*" && !slices.Contains(known, backend):
		b.wrong(at, oneOf(backend, known), "service %s has no backend %q", service, backend)
	case backend == "*" || len(known) == 1:
		b.warn(at, "clients get what on_empty says, or the sorry server", "in this window service %s has no backend left", service)
	}
}

// once is a window with a beginning and an end.
func (b *builder) once(path string, r rawMaintenance, m *core.Maintenance) {
	for _, u := range []use{{"days", len(r.Days) > 0}, {"zone", r.Zone != ""}} {
		if u.used {
			b.misplaced(join(path, u.key), "leave it out", "%s means nothing beside start and end", u.key)
		}
	}
	start, end := join(path, "start"), join(path, "end")
	for _, k := range []string{start, end} {
		if !b.written(k) {
			b.spoil(b.at(path), k, "a window that is open on one side is what `steelyard backend drain` is for", "%s has no %q", m.Name, k[strings.LastIndex(k, ".")+1:])
			return
		}
	}
	var ok, okEnd bool
	m.Start, ok = b.instant(start, r.Start)
	m.End, okEnd = b.instant(end, r.End)
	switch {
	case !ok || !okEnd:
	case !m.End.After(m.Start):
		b.wrong(end, "", "the window ends before it begins")
	case b.now().After(m.End):
		b.warn(end, "take it out", "the window %s is over", m.Name)
	}
}

// instant parses a time with its date and zone.
func (b *builder) instant(at, text string) (time.Time, bool) {
	if b.spoilt[at] {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		hint := "such as 2027-03-01T22:00:00+01:00, or ending in Z for UTC"
		if local, err := time.Parse("2006-01-02T15:04:05", strings.Replace(text, " ", "T", 1)); err == nil {
			hint = "say in which zone: " + local.Format("2006-01-02T15:04:05") + "+01:00, or ending in Z for UTC"
		}
		b.wrong(at, hint, "%q is no time as in RFC 3339", text)
		return time.Time{}, false
	}
	return t.UTC(), true
}

// again is a window that comes back.
func (b *builder) again(path string, r rawMaintenance, m *core.Maintenance) {
	from, to := join(path, "from"), join(path, "to")
	for _, k := range []string{from, to} {
		if !b.written(k) && !b.spoilt[k] {
			b.spoil(b.at(path), k, clockHint, "%s has no %q", m.Name, k[strings.LastIndex(k, ".")+1:])
			return
		}
	}
	if b.spoilt[from] || b.spoilt[to] {
		return
	}
	m.From, m.To, m.Zone = clock(r.From), clock(r.To), r.Zone
	for i, day := range r.Days {
		if at := b.item(join(path, "days"), i); slices.Index(r.Days, day) < i && day != "" {
			b.wrong(at, "", "%s stands here twice", day)
		}
		m.Days = append(m.Days, time.Weekday(slices.Index(dayNames, day)))
	}
	slices.Sort(m.Days)
	if m.From == m.To && (len(m.Days) == 0 || len(m.Days) == len(dayNames)) {
		b.wrong(to, "name the days, or another end", "a window of 24 hours on every day never ends")
	}
	if r.Zone == "" {
		return
	}
	if _, err := time.LoadLocation(r.Zone); err != nil || r.Zone == "Local" {
		b.wrong(join(path, "zone"), "a name such as Europe/Berlin or UTC; is the package tzdata installed?", "this machine knows no time zone %q", r.Zone)
	}
}

// clock is a time of day that its pattern has let through, since midnight.
func clock(text string) time.Duration {
	t, err := time.Parse("15:04", text)
	if err != nil {
		panic("a time of day that its pattern let through: " + err.Error())
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
}
