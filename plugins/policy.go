// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// A policy is a name that services may give, and what is known of it. The version
// that answers to the name may change; the counters and the state stay.
type policy struct {
	name    string
	shipped bool

	mu      sync.Mutex // guards what follows
	now     *version   // in force
	trial   trial      // of now
	states  map[stateKey]*state
	samples samples // for the canary of the next version
	tally   tally

	quarantine quarantine
	relayed    relayed
}

func newPolicy(name string, shipped bool) *policy {
	return &policy{name: name, shipped: shipped, states: map[stateKey]*state{}}
}

// A version is one build of a policy: its module, in a lane that runs it. It does
// not change.
type version struct {
	label    string // name@first 12 hex of the module's sha256
	path     string // of its file; empty if there is none
	lane     *lane
	info     abi.PolicyInfo
	frame    abi.Frame // without what differs from call to call
	loadedAt time.Time
}

// newVersion takes the policy of a module that is at entry in its manifest. It
// holds the lane.
func newVersion(name, path string, l *lane, entry int) *version {
	info := l.module.manifest.Policies[entry]
	info.Name = name // as the configuration calls it
	l.acquire()
	return &version{
		label: name + "@" + l.module.sum[:12], path: path, lane: l, info: info, loadedAt: time.Now(),
		frame: abi.Frame{
			Entry: uint32(entry), BackendSlots: info.BackendSlots, ServiceSlots: info.ServiceSlots,
			Metrics: info.Metrics, Hidden: info.Hidden(),
		},
	}
}

// drop says that nobody will call this version any more.
func (v *version) drop() {
	if v != nil {
		v.lane.release()
	}
}

// stop ends the workers of a policy.
func (p *policy) stop() {
	p.mu.Lock()
	now, before := p.now, p.trial.before
	p.mu.Unlock()
	for _, v := range []*version{now, before} {
		if v != nil {
			v.lane.stop()
		}
	}
}

// A quarantine keeps a policy that killed a worker away from the next.
type quarantine struct {
	until time.Time
	wait  time.Duration // of the latest one; 0 if there was none lately
}

// The bounds of a quarantine.
const (
	quarantineMin = time.Second
	quarantineMax = 5 * time.Minute
)

func (q *quarantine) start(now time.Time) {
	q.wait = min(max(2*q.wait, quarantineMin), quarantineMax)
	q.until = now.Add(q.wait)
}

// good forgets the past of a policy that has been well for as long as it was
// away.
func (q *quarantine) good(now time.Time) {
	if q.wait > 0 && now.After(q.until.Add(q.wait)) {
		q.wait = 0
	}
}
