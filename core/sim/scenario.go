// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A Scenario is a pool, its clients and what happens to it. Its YAML keys are
// those of a scenario file; Default gives what a file leaves out.
type Scenario struct {
	Name     string        `yaml:"name"`
	About    string        `yaml:"about"`
	Duration time.Duration `yaml:"duration"`
	// Measure is where latency, imbalance, oscillation and churn begin to count; 0 is
	// after a sixth of the duration.
	Measure time.Duration `yaml:"measure,omitempty"`
	// Settle is the last disturbance, from which convergence is counted.
	Settle time.Duration `yaml:"settle"`

	Backends    []Backend   `yaml:"backends"`
	Load        Load        `yaml:"load"`
	Service     Service     `yaml:"service"`
	Connections Connections `yaml:"connections"`
	Sensor      Sensor      `yaml:"sensor"`
	Health      Health      `yaml:"health"`
	Events      []Event     `yaml:"events,omitempty"`

	Balancers int           `yaml:"balancers"` // on one pool; each knows its own connections only
	Every     time.Duration `yaml:"every"`     // time between two decisions
	Shaping   Shaping       `yaml:"shaping"`
}

// A Backend is a machine, or Count alike.
type Backend struct {
	Name   string  `yaml:"name"`
	Count  int     `yaml:"count,omitempty"`  // 0 is 1; more are called name1, name2, …
	Cores  int     `yaml:"cores"`            // each serves one request at a time
	Speed  float64 `yaml:"speed,omitempty"`  // of a core; 0 is 1
	Weight uint32  `yaml:"weight,omitempty"` // configured; 0 is 100
}

// Load is how many requests come.
type Load struct {
	// Utilisation is the load over what all backends can do at the start.
	Utilisation float64 `yaml:"utilisation"`
	Profile     []Point `yaml:"profile,omitempty"` // factors on it, joined by straight lines
}

// A Point is a factor at a time.
type Point struct {
	At     time.Duration `yaml:"at"`
	Factor float64       `yaml:"factor"`
}

// Service is the lognormal time that a request keeps a core of speed 1 busy.
type Service struct {
	Mean  time.Duration `yaml:"mean"`
	Sigma float64       `yaml:"sigma"` // of its logarithm
}

// Connections say how requests reach a backend. Life 0 is one request per
// connection; else a connection lives for Life on average and sends Requests a
// second.
type Connections struct {
	Life     time.Duration `yaml:"life"`
	Requests float64       `yaml:"requests_per_second"`
}

// A Sensor is the agent that tells the CPU and the probe that asks it.
type Sensor struct {
	Window  time.Duration `yaml:"window"`  // that the CPU is averaged over
	Refresh time.Duration `yaml:"refresh"` // of the agent
	Poll    time.Duration `yaml:"poll"`    // ± a tenth
	Loss    float64       `yaml:"loss"`    // ratio of the polls that get no answer
	Cores   bool          `yaml:"cores"`   // the agent tells how many there are
}

// Health is the probe that decides up and down.
type Health struct {
	Interval time.Duration `yaml:"interval"`
	Rise     int           `yaml:"rise"`
	Fall     int           `yaml:"fall"`
}

// Shaping is core.Shaping with keys for YAML, those of the configuration.
type Shaping struct {
	StaleAfter   time.Duration `yaml:"stale_after"`
	Hold         time.Duration `yaml:"hold"`
	SlowStart    time.Duration `yaml:"slow_start"`
	SlowStartMin float64       `yaml:"slow_start_min"`
	Floor        float64       `yaml:"floor"`
	Ceiling      float64       `yaml:"ceiling"`
	Step         float64       `yaml:"step"`
	DeadBand     float64       `yaml:"dead_band"`
	Panic        float64       `yaml:"panic"`
}

// measured is where the figures begin.
func (sc *Scenario) measured() time.Duration {
	if sc.Measure == 0 {
		return sc.Duration / 6
	}
	return sc.Measure
}

func (s Shaping) rules() core.Shaping { return core.Shaping(s) }

// A Kind is what happens in an Event.
type Kind string

// The kinds of events, spelled as in a scenario file.
const (
	Speed      Kind = "speed"         // the cores run at Value times their speed
	Antagonist Kind = "antagonist"    // other work takes part of the CPU, at most Value of it, as a sinus of Period
	Dead       Kind = "down"          // it refuses connections; with Period, for the first For of each
	Sinkhole   Kind = "sinkhole"      // it fails every request at once, with an idle CPU
	Stuck      Kind = "stuck"         // its agent gives the same CPU again and again, as news
	Restart    Kind = "agent_restart" // its agent begins anew: zeros, then a window of counters to gather
)

// An Event happens to a backend, or to all if Backend is empty, from At until
// Until; 0 is to the end.
type Event struct {
	At      time.Duration `yaml:"at"`
	Until   time.Duration `yaml:"until,omitempty"`
	Backend string        `yaml:"backend,omitempty"`
	Kind    Kind          `yaml:"kind"`
	Value   float64       `yaml:"value,omitempty"`
	Period  time.Duration `yaml:"period,omitempty"`
	For     time.Duration `yaml:"for,omitempty"`
}

// Default is what a scenario has that does not say otherwise: the defaults of
// steelyard's configuration where it has such a key.
func Default() Scenario {
	return Scenario{
		Duration:    1200 * time.Second,
		Load:        Load{Utilisation: 0.65},
		Service:     Service{Mean: 20 * time.Millisecond, Sigma: 0.9},
		Connections: Connections{Requests: 0.1},
		Sensor:      Sensor{Window: 5 * time.Second, Refresh: 5 * time.Second, Poll: 5 * time.Second, Cores: true},
		Health:      Health{Interval: 2 * time.Second, Rise: 2, Fall: 3},
		Balancers:   1, Every: time.Second,
		Shaping: Shaping{StaleAfter: 30 * time.Second, Hold: time.Minute, SlowStartMin: 0.1,
			Floor: 0.05, Ceiling: 1, Step: 0.25, DeadBand: 0.005},
	}
}
