// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/worker"
)

// A module is a file of WASM; one module may hold several policies.
type module struct {
	id   uint32
	code []byte
	sum  string // sha256, lower-case hex

	manifest abi.Manifest // set once it is loaded
}

func newModule(code []byte) *module {
	sum := sha256.Sum256(code)
	return &module{code: code, sum: hex.EncodeToString(sum[:])}
}

// A program is one loaded policy. All but the counters is fixed at Load.
type program struct {
	name    string
	version string // name@first 12 hex of the module's sha256
	lane    *lane
	module  *module
	info    abi.PolicyInfo
	entry   uint32

	// Guarded by Host.mu.
	calls, faults uint64
	lastFault     string
	took          [256]time.Duration // a ring of the latest calls
	quarantine    quarantine
	relayed       relayed
}

func newProgram(name string, l *lane, m *module, info abi.PolicyInfo, entry int) *program {
	info.Name = name // as the configuration calls it
	return &program{name: name, version: name + "@" + m.sum[:12], lane: l, module: m, info: info, entry: uint32(entry)}
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

// A job is one call on its way. The lane's goroutine owns it until finish.
type job struct {
	call    *core.Call
	result  *core.Result
	program *program
	frame   abi.Frame
	buf     []byte // the encoded snapshot
}

// prepare looks up the policy of a call and encodes its snapshot. It returns
// nil after it wrote an error into the result.
func (h *Host) prepare(c *core.Call, r *core.Result) *job {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.programs[c.Policy]
	if p == nil {
		r.Err = fmt.Errorf("run policy %s: no such policy is loaded", c.Policy)
		return nil
	}
	r.Version = p.version
	if wait := time.Until(p.quarantine.until); wait > 0 {
		r.Err = fmt.Errorf("run policy %s: quarantined for another %v after: %s", p.name, wait.Round(time.Millisecond), p.lastFault)
		return nil
	}
	params, err := p.info.Values(c.Snapshot.Params)
	if err != nil {
		r.Err = fmt.Errorf("run policy %s: %w", p.name, err)
		return nil
	}
	j := &job{call: c, result: r, program: p, frame: abi.Frame{
		Entry: p.entry, Params: params, BackendSlots: p.info.BackendSlots, ServiceSlots: p.info.ServiceSlots,
		Hidden: p.info.Hidden(),
	}}
	if s := h.states[stateKey{p.version, c.Snapshot.ID}]; s != nil {
		j.frame.Service, j.frame.Backend = s.service, s.backend
	}
	if j.buf, err = abi.Encode(nil, &c.Snapshot, j.frame); err != nil {
		r.Err = fmt.Errorf("run policy %s: %w", p.name, err)
		return nil
	}
	return j
}

// finish takes the worker's answer to a job: checks it, keeps its state, and
// counts. killed says that the call cost the worker its life.
func (h *Host) finish(j *job, res worker.Result, killed bool) {
	h.relay(j, res)
	var answer abi.Answer
	fault := res.Err
	if fault == "" {
		a, err := abi.Decode(res.Answer, &j.call.Snapshot, j.frame)
		if err != nil {
			fault = err.Error()
		}
		answer = a
	}
	j.result.Took = res.Took

	h.mu.Lock()
	defer h.mu.Unlock()
	p, now := j.program, time.Now()
	p.took[p.calls%uint64(len(p.took))] = res.Took
	p.calls++
	if fault == "" {
		j.result.Weights = answer.Weights
		p.quarantine.good(now)
		h.commit(j, answer)
		return
	}
	p.faults++
	p.lastFault = fault
	j.result.Err = fmt.Errorf("run policy %s on %s: %s", p.name, j.call.Snapshot.Service, fault)
	if killed {
		p.quarantine.start(now)
		h.log.Warn("policy quarantined", "policy", p.version, "service", j.call.Snapshot.Service,
			"cause", fault, "for", p.quarantine.wait)
	}
}

// Views are the loaded policies, by name.
func (h *Host) Views() []core.PolicyView {
	h.mu.Lock()
	defer h.mu.Unlock()
	views := make([]core.PolicyView, 0, len(h.programs))
	for _, p := range h.programs {
		v := core.PolicyView{Name: p.name, Version: p.version, Calls: p.calls, Faults: p.faults, LastFault: p.lastFault}
		v.QuarantineSecond = max(0, time.Until(p.quarantine.until).Seconds())
		if n := min(p.calls, uint64(len(p.took))); n > 0 {
			took := slices.Clone(p.took[:n])
			slices.Sort(took)
			v.P50Seconds = took[n/2].Seconds()
		}
		views = append(views, v)
	}
	slices.SortFunc(views, func(a, b core.PolicyView) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return views
}
