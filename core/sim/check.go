// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Problem is a value that a scenario cannot have.
type Problem struct {
	Path string // of the key, such as $.backends[0].cores
	Text string // what is wrong and what would be right
}

// Problems are all that is wrong with a scenario.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = strings.TrimPrefix(p.Path, "$.") + ": " + p.Text
	}
	return strings.Join(lines, "\n")
}

// The bounds of a scenario: above them a run takes minutes or the machine's memory.
const (
	maxDuration    = 24 * time.Hour
	maxBackends    = 1000
	maxCores       = 1024
	maxBalancers   = 16
	maxRequests    = 200e6
	maxConnections = 4e6
)

// Check returns Problems if a scenario cannot be run.
func (sc *Scenario) Check() error {
	c := &checker{sc: sc}
	c.times()
	c.backends()
	c.load()
	c.probing()
	c.shaping()
	for i, e := range sc.Events {
		c.event(fmt.Sprintf("$.events[%d]", i), e)
	}
	if len(c.ps) == 0 {
		c.size()
	}
	if len(c.ps) > 0 {
		return c.ps
	}
	return nil
}

type checker struct {
	sc *Scenario
	ps Problems
}

func (c *checker) want(ok bool, path, format string, args ...any) {
	if !ok {
		c.ps = append(c.ps, Problem{path, fmt.Sprintf(format, args...)})
	}
}

func (c *checker) times() {
	sc := c.sc
	c.want(sc.Duration >= 10*time.Second && sc.Duration <= maxDuration, "$.duration", "is %s; want 10s to %s", sc.Duration, maxDuration)
	c.want(sc.Measure >= 0 && sc.Measure < sc.Duration, "$.measure", "is %s; want less than the duration, %s", sc.Measure, sc.Duration)
	c.want(sc.Settle >= 0 && sc.Settle < sc.Duration, "$.settle", "is %s; want less than the duration, %s", sc.Settle, sc.Duration)
	c.want(sc.Every >= 500*time.Millisecond && sc.Every <= time.Hour, "$.every", "is %s; want 500ms to 1h", sc.Every)
	c.want(sc.Balancers >= 1 && sc.Balancers <= maxBalancers, "$.balancers", "is %d; want 1 to %d", sc.Balancers, maxBalancers)
}

func (c *checker) backends() {
	n, names := 0, map[string]bool{}
	for i, b := range c.sc.Backends {
		path := fmt.Sprintf("$.backends[%d]", i)
		c.want(b.Name != "", path, "has no name")
		c.want(!names[b.Name], path+".name", "%q is there twice", b.Name)
		names[b.Name] = true
		c.want(b.Count >= 0 && b.Count <= maxBackends, path+".count", "is %d; want 1 to %d", b.Count, maxBackends)
		c.want(b.Cores >= 1 && b.Cores <= maxCores, path+".cores", "is %d; want 1 to %d", b.Cores, maxCores)
		c.want(b.Speed >= 0 && b.Speed <= 1000, path+".speed", "is %g; want above 0, 1 is usual", b.Speed)
		c.want(b.Weight <= 1000, path+".weight", "is %d; want 1 to 1000", b.Weight)
		if n++; b.Count <= maxBackends {
			n += max(0, b.Count-1)
		}
	}
	c.want(n >= 1 && n <= maxBackends, "$.backends", "are %d in all; want 1 to %d", n, maxBackends)
}

func (c *checker) load() {
	sc := c.sc
	c.want(sc.Load.Utilisation > 0 && sc.Load.Utilisation <= 10, "$.load.utilisation", "is %g; want above 0, such as 0.65", sc.Load.Utilisation)
	for i, p := range sc.Load.Profile {
		path := fmt.Sprintf("$.load.profile[%d]", i)
		c.want(p.Factor > 0 && p.Factor <= 100, path+".factor", "is %g; want above 0", p.Factor)
		c.want(i == 0 || p.At > sc.Load.Profile[i-1].At, path+".at", "is %s; want later than the point before", p.At)
	}
	c.want(sc.Service.Mean >= 10*time.Microsecond && sc.Service.Mean <= time.Hour, "$.service.mean", "is %s; want 10µs to 1h", sc.Service.Mean)
	c.want(sc.Service.Sigma >= 0 && sc.Service.Sigma <= 4, "$.service.sigma", "is %g; want 0 to 4", sc.Service.Sigma)
	l := sc.Connections
	c.want(l.Life == 0 || l.Life >= time.Second && l.Life <= maxDuration, "$.connections.life", "is %s; want 0s for one request per connection, or 1s to %s", l.Life, maxDuration)
	c.want(l.Life == 0 || l.Requests > 0, "$.connections.requests_per_second", "is %g; want above 0", l.Requests)
}

func (c *checker) probing() {
	s, h := c.sc.Sensor, c.sc.Health
	interval := func(path string, d time.Duration, most time.Duration) {
		c.want(d >= 500*time.Millisecond && d <= most, path, "is %s; want 500ms to %s", d, most)
	}
	interval("$.sensor.window", s.Window, time.Minute)
	interval("$.sensor.refresh", s.Refresh, time.Hour)
	interval("$.sensor.poll", s.Poll, time.Hour)
	interval("$.health.interval", h.Interval, time.Hour)
	c.want(s.Loss >= 0 && s.Loss <= 1, "$.sensor.loss", "is %g; want 0 to 1", s.Loss)
	c.want(h.Rise >= 1, "$.health.rise", "is %d; want 1 or more", h.Rise)
	c.want(h.Fall >= 1, "$.health.fall", "is %d; want 1 or more", h.Fall)
}

// shaping has the bounds of a configuration's.
func (c *checker) shaping() {
	s := c.sc.Shaping
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"stale_after", s.StaleAfter}, {"hold", s.Hold}, {"slow_start", s.SlowStart}} {
		c.want(d.value >= 0 && d.value <= maxDuration, "$.shaping."+d.key, "is %s; want 0s to %s", d.value, maxDuration)
	}
	for _, r := range []struct {
		key   string
		value float64
	}{{"slow_start_min", s.SlowStartMin}, {"floor", s.Floor}, {"ceiling", s.Ceiling}, {"step", s.Step}, {"dead_band", s.DeadBand}, {"panic", s.Panic}} {
		c.want(r.value >= 0 && r.value <= 1, "$.shaping."+r.key, "is %g; want 0 to 1", r.value)
	}
}

// kinds are all kinds of events.
var kinds = []Kind{Speed, Antagonist, Dead, Sinkhole, Stuck, Restart}

func (c *checker) event(path string, e Event) {
	sc := c.sc
	if !slices.Contains(kinds, e.Kind) {
		c.want(false, path+".kind", "is %q; want one of %v", e.Kind, kinds)
	}
	c.want(e.At >= 0 && e.At < sc.Duration, path+".at", "is %s; want less than the duration, %s", e.At, sc.Duration)
	c.want(e.Until == 0 || e.Until > e.At, path+".until", "is %s; want later than %s, or nothing for the end", e.Until, e.At)
	known := e.Backend == ""
	for _, b := range sc.Backends {
		known = known || e.Backend == b.Name
		for k := range min(b.Count, maxBackends) {
			known = known || b.Count > 1 && e.Backend == fmt.Sprintf("%s%d", b.Name, k+1)
		}
	}
	c.want(known, path+".backend", "%q is no backend of the scenario", e.Backend)
	switch e.Kind {
	case Speed:
		c.want(e.Value > 0 && e.Value <= 100, path+".value", "is %g; want the factor on the speed, above 0", e.Value)
	case Antagonist:
		c.want(e.Value > 0 && e.Value < 1, path+".value", "is %g; want the part of the CPU that other work takes, above 0 and below 1", e.Value)
	case Dead:
		c.want(e.Period == 0 || e.For > 0 && e.For < e.Period, path+".for", "is %s; want how long it is down in each period of %s", e.For, e.Period)
	}
}

// size bounds what a run costs.
func (c *checker) size() {
	sc := c.sc
	ms := 0.0
	for _, b := range sc.Backends {
		ms += float64(max(1, b.Count) * b.Cores)
		ms += float64(max(1, b.Count)*b.Cores) * (speedOr1(b.Speed) - 1)
	}
	rate := sc.Load.Utilisation * ms / sc.Service.Mean.Seconds()
	total := 0.0
	for k := range int(sc.Duration / time.Second) {
		total += rate * factorAt(sc.Load.Profile, time.Duration(k)*time.Second)
	}
	c.want(total <= maxRequests, "$.duration", "comes to %.0f million requests; at most %.0f are played: fewer or slower backends, or a shorter run", total/1e6, maxRequests/1e6)
	if sc.Connections.Life > 0 {
		n := rate / sc.Connections.Requests
		c.want(n <= maxConnections, "$.connections.requests_per_second", "comes to %.0f open connections; at most %.0f are played", n, float64(maxConnections))
	}
}
