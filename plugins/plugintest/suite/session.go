// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/worker"
)

// The limits of the daemon; those of a load are of WASM.
var (
	callLimits = worker.Limits{CPU: worker.CallCPU, Wall: worker.CallWall, Memory: worker.DefaultMemory}
	loadLimits = worker.Limits{CPU: worker.LoadCPU, Wall: worker.LoadWall, Memory: worker.DefaultMemory}
)

// A Subject is a policy to try out.
type Subject struct {
	Name    string   // of the policy, for a module that holds several; empty if it holds one
	Code    []byte   // WASM, or the source of a Lua script
	Command []string // the program that is the worker; empty means this one with the argument "worker"
}

// A Session is a subject in a worker, and what it keeps about services. Not safe
// for concurrent use. Close it.
type Session struct {
	Info abi.PolicyInfo
	// Loading is the time that compiling and starting the module took.
	Loading time.Duration

	subject Subject
	entry   uint32
	process *worker.Process
	states  map[uint64]*state // by the id of the service
	batch   worker.Batch
	// mangle changes an encoded snapshot on its way; nil leaves it alone.
	mangle func([]byte) []byte
}

// A state is what the policy keeps about one service.
type state struct {
	service  []byte
	backends map[uint64][]byte
}

// An Answer is what a policy said to one snapshot.
type Answer struct {
	Weights []float64 // one per backend, core.Hold where it has no opinion
	Took    time.Duration
	Logs    []string
}

// A Fault is an answer that the daemon would not have used.
type Fault struct {
	Kind  FaultKind
	Cause string
}

func (f *Fault) Error() string { return f.Cause }

// A FaultKind tells faults apart.
type FaultKind string

// The kinds of faults.
const (
	Refused FaultKind = "refused" // the policy itself said that it has no answer
	Trapped FaultKind = "trapped" // the guest crashed; its instance is made anew
	Died    FaultKind = "died"    // it cost the worker its life: time, memory
	Invalid FaultKind = "invalid" // an answer that breaks the rules
)

// Open loads the subject into a new worker. An error is about the module, or the
// failure to start a worker.
func (s Subject) Open(ctx context.Context) (*Session, error) {
	if len(s.Command) == 0 {
		s.Command = []string{"/proc/self/exe", "worker"}
	}
	t := &Session{subject: s, states: map[uint64]*state{}}
	manifest, err := t.start(ctx)
	if err != nil {
		return nil, err
	}
	if err := t.pick(manifest); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// start runs a worker and loads the module; it returns the manifest.
func (t *Session) start(ctx context.Context) ([]byte, error) {
	p, err := worker.Start(ctx, t.subject.Command, callLimits.Memory)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	loaded, err := p.Load(t.subject.Code, loadLimits.ForLoad(t.subject.Code))
	if err == nil && loaded.Err != "" {
		err = errors.New(loaded.Err)
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("load module: %w", err)
	}
	t.Loading = time.Since(begin)
	t.process = p
	return loaded.Manifest, nil
}

// pick finds the policy in the module.
func (t *Session) pick(manifest []byte) error {
	if manifest == nil {
		t.Info.Name = t.subject.Name
		return nil
	}
	m, err := abi.ParseManifest(manifest)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(m.Policies, func(p abi.PolicyInfo) bool { return p.Name == t.subject.Name })
	if i < 0 && len(m.Policies) > 1 {
		var names []string
		for _, p := range m.Policies {
			names = append(names, p.Name)
		}
		return fmt.Errorf("the module holds several policies: name one of %s", strings.Join(names, ", "))
	}
	i = max(i, 0)
	t.Info, t.entry = m.Policies[i], uint32(i)
	return nil
}

// Close ends the worker.
func (t *Session) Close() {
	if t.process != nil {
		t.process.Close()
		t.process = nil
	}
}

// Restart ends the worker; the next call starts another. What the policy keeps
// is kept, as by the daemon.
func (t *Session) Restart() { t.Close() }

// Forget drops what the policy keeps about all services.
func (t *Session) Forget() { t.states = map[uint64]*state{} }

// Memory is the resident memory of the worker in bytes.
func (t *Session) Memory() int64 {
	if t.process == nil {
		return 0
	}
	return t.process.Resident()
}

// Schedule asks for one answer. An error is a *Fault, but where no worker starts,
// or the snapshot's parameters are none that the policy has.
func (t *Session) Schedule(ctx context.Context, s *core.Snapshot) (Answer, error) {
	answers, errs, err := t.Batch(ctx, []*core.Snapshot{s})
	if err != nil {
		return Answer{}, err
	}
	return answers[0], errs[0]
}

// Batch asks for several answers at once, each of another service, and returns
// for each an answer or a *Fault.
func (t *Session) Batch(ctx context.Context, list []*core.Snapshot) ([]Answer, []error, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if t.process == nil || !t.process.Alive() {
		t.Close()
		if _, err := t.start(ctx); err != nil {
			return nil, nil, err
		}
	}
	frames, err := t.encode(list)
	if err != nil {
		return nil, nil, err
	}
	answers, errs := make([]Answer, len(list)), make([]error, len(list))
	results, err := t.process.Call(&t.batch, callLimits)
	if err != nil {
		t.Close()
		for i := range errs {
			errs[i] = &Fault{Died, err.Error()}
		}
		return answers, errs, nil
	}
	for i, r := range results {
		answers[i], errs[i] = t.take(list[i], frames[i], r)
	}
	return answers, errs, nil
}

// encode writes the snapshots into the session's batch.
func (t *Session) encode(list []*core.Snapshot) ([]abi.Frame, error) {
	frames := make([]abi.Frame, len(list))
	t.batch.Reset()
	for i, s := range list {
		params, err := t.Info.Values(s.Params)
		if err != nil {
			return nil, err
		}
		frames[i] = abi.Frame{Entry: t.entry, Params: params, Hidden: t.Info.Hidden(), Metrics: t.Info.Metrics,
			BackendSlots: t.Info.BackendSlots, ServiceSlots: t.Info.ServiceSlots}
		if st := t.states[s.ID]; st != nil {
			frames[i].Service, frames[i].Backend = st.service, func(id uint64) []byte { return st.backends[id] }
		}
		buf, err := abi.Encode(t.batch.Room(), s, frames[i])
		if err != nil {
			return nil, err
		}
		if t.mangle != nil {
			buf = t.mangle(buf)
		}
		t.batch.Add(buf)
	}
	return frames, nil
}

// take makes an answer of what the worker said, and keeps its state.
func (t *Session) take(s *core.Snapshot, f abi.Frame, r worker.Result) (Answer, error) {
	a := Answer{Took: r.Took}
	for _, l := range r.Logs {
		a.Logs = append(a.Logs, l.Text)
	}
	if r.Err != "" {
		return a, &Fault{faultKind(r.Err), r.Err}
	}
	got, err := abi.Decode(r.Answer, s, f)
	if err != nil {
		return a, &Fault{Invalid, err.Error()}
	}
	a.Weights = got.Weights
	if f.BackendSlots > 0 || f.ServiceSlots > 0 {
		t.keep(s, got)
	}
	return a, nil
}

// keep takes over the state in an answer. Backends that are gone are forgotten.
func (t *Session) keep(s *core.Snapshot, a abi.Answer) {
	st := t.states[s.ID]
	if st == nil || len(st.backends) > len(s.Backends) {
		old := st
		st = &state{backends: make(map[uint64][]byte, len(s.Backends))}
		for _, b := range s.Backends {
			if old != nil && old.backends[b.ID] != nil {
				st.backends[b.ID] = old.backends[b.ID]
			}
		}
		t.states[s.ID] = st
	}
	st.service = append(st.service[:0], a.Service...)
	for i, b := range s.Backends {
		if have := st.backends[b.ID]; have != nil && len(have) == len(a.Backend[i]) {
			copy(have, a.Backend[i])
		} else {
			st.backends[b.ID] = bytes.Clone(a.Backend[i])
		}
	}
}

// faultKind tells a policy that says no from one that crashed. An abort is how a
// guest without return values says no.
func faultKind(text string) FaultKind {
	crashed := strings.HasPrefix(text, abi.ExportSchedule+":") || strings.HasPrefix(text, abi.ExportAlloc+":")
	if crashed && !strings.Contains(text, "the policy aborted") {
		return Trapped
	}
	return Refused
}

// Ask is Schedule for a policy of which only the ratios count: shares of the
// answers, NaN where it holds.
func (t *Session) Ask(ctx context.Context, s *core.Snapshot) ([]float64, error) {
	a, err := t.Schedule(ctx, s)
	if err != nil {
		return nil, err
	}
	return Shares(a.Weights), nil
}
