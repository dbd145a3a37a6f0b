// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/plugins/worker"
)

// The wait between two attempts to start a worker that does not start, or that
// dies without any call to blame.
const (
	restartMin = 100 * time.Millisecond
	restartMax = 30 * time.Second
)

// A lane is one module and the worker process that runs it, one batch at a time.
// It begins without a worker and starts one when there is something to do.
type lane struct {
	name    string // of the first policy that it was made for
	module  *module
	command []string
	calls   worker.Limits
	loads   worker.Limits
	log     *slog.Logger

	refs atomic.Int32 // versions and calls that hold it
	pid  atomic.Int32 // of the worker; 0 while there is none

	mu      sync.Mutex // guards what follows; held for a whole batch
	process *worker.Process
	batch   worker.Batch
	peak    int64         // the most memory of a worker that is gone, bytes
	wait    time.Duration // of the latest backoff; 0 after a good batch
	retryAt time.Time
	cause   string // why there is a backoff
}

// newLane makes a lane that nobody holds yet.
func (h *Host) newLane(name string, m *module) *lane {
	return &lane{name: name, module: m, command: h.command, calls: h.calls, loads: h.loads.ForLoad(m.code), log: h.log}
}

func (l *lane) acquire() { l.refs.Add(1) }

// release ends the worker when nobody is left who could call it.
func (l *lane) release() {
	if l.refs.Add(-1) == 0 {
		l.stop()
	}
}

// stop ends the worker. The next call starts another.
func (l *lane) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop()
	l.batch = worker.Batch{}
}

func (l *lane) drop() {
	if l.process != nil {
		l.process.Close()
		l.peak = max(l.peak, l.process.Peak())
		l.process = nil
		l.pid.Store(0)
	}
}

// memory is what is resident of the worker, bytes; 0 while there is none.
func (l *lane) memory() int64 {
	if pid := l.pid.Load(); pid != 0 {
		return worker.Resident(int(pid))
	}
	return 0
}

// ready starts the worker and loads the module, if that is to be done. The caller
// holds mu. A *worker.Death or an error in refused is the module's fault.
func (l *lane) ready(ctx context.Context) (manifest []byte, err error) {
	if l.process != nil && l.process.Alive() {
		return nil, nil
	}
	l.drop()
	if wait := time.Until(l.retryAt); wait > 0 {
		return nil, fmt.Errorf("the worker of %s does not stay up; next attempt in %v: %s", l.name, wait.Round(time.Millisecond), l.cause)
	}
	p, err := worker.Start(ctx, l.command, l.calls.Memory)
	if err != nil {
		l.backoff(err)
		return nil, err
	}
	l.process = p
	l.pid.Store(int32(p.PID()))
	got, err := p.Load(l.module.code, l.loads)
	if err == nil && got.Err != "" {
		err = refused(got.Err)
	}
	if err != nil {
		l.drop()
		return nil, err
	}
	for _, line := range got.Logs {
		l.log.Info("policy says while it is loaded", "worker", l.name, "text", line.Text)
	}
	l.log.Info("policy worker started", "worker", l.name, "pid", p.PID(), "confined_by", p.How())
	return got.Manifest, nil
}

// refused is what is wrong with a module.
type refused string

func (e refused) Error() string { return string(e) }

// blames reports whether an error of ready speaks of the module, and whether it
// cost a worker its life.
func blames(err error) (module, killed bool) {
	var no refused
	var death *worker.Death
	killed = errors.As(err, &death)
	return killed || errors.As(err, &no), killed
}

// backoff makes the next start wait, but for the first in a row: a worker that
// an operator or the kernel killed is replaced at once.
func (l *lane) backoff(cause error) {
	l.cause = cause.Error()
	l.retryAt = time.Now().Add(l.wait)
	l.wait = min(max(2*l.wait, restartMin), restartMax)
}

// load compiles the module, for the first time, and reads its manifest.
func (l *lane) load(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	manifest, err := l.ready(ctx)
	if err == nil {
		err = l.module.readManifest(manifest)
	}
	if err != nil {
		l.drop()
	}
	return err
}
