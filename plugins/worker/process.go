// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

// A Death is the end of a worker in the middle of an exchange. The process is
// gone when it is returned.
type Death struct {
	Call  int    // the call that ran, -1 if none did
	Cause string // in a few words, for an operator
	Peak  int64  // see Process.Peak
}

func (d *Death) Error() string { return d.Cause }

// A Process is a running worker.
type Process struct {
	cmd      *exec.Cmd
	conn     *net.UnixConn
	progress progress
	stderr   tail
	exited   chan struct{} // closed once the process has been waited for
	how      string
	in       []byte
	results  []Result
	weighed  time.Time // when its memory was last looked at
}

// helloLimits bound the start.
var helloLimits = Limits{CPU: 10 * time.Second, Wall: 30 * time.Second, Memory: math.MaxInt64}

// Start runs command as a worker that may have so many bytes of memory, and waits
// until it is confined. The program must call Main. ctx bounds the start only.
func Start(ctx context.Context, command []string, memory int64) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	flags := uintptr(0)
	if os.Geteuid() == 0 {
		flags = unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	}
	p, err := spawn(command, memory, flags)
	if errors.Is(err, syscall.EPERM) && flags != 0 { // root without CAP_SYS_ADMIN, as in a container
		p, err = spawn(command, memory, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	kind, body, err := p.receive(0, helloLimits)
	if err == nil && kind != typeHello {
		err = fmt.Errorf("%w: type %d before hello", errFrame, kind)
	}
	if err != nil {
		p.Close()
		if said := p.stderr.firstLine(); said != "" {
			err = fmt.Errorf("%w: it said: %s", err, said)
		}
		return nil, fmt.Errorf("start worker: %w", err)
	}
	p.how = string(body)
	return p, nil
}

func spawn(command []string, memory int64, flags uintptr) (*Process, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "parent")
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	_ = ours.Close() // FileConn has its own
	if err != nil {
		return nil, fmt.Errorf("use socketpair: %w", err)
	}
	shared, page, err := newProgress()
	if err != nil {
		_ = conn.Close() // nothing was sent
		return nil, err
	}
	defer page.Close()

	p := &Process{conn: conn.(*net.UnixConn), progress: shared, exited: make(chan struct{})}
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.ExtraFiles = []*os.File{theirs, page}
	p.cmd.Stderr = &p.stderr
	// One thread of Go code is enough, and leaves the other cores to the kernel.
	p.cmd.Env = []string{"GOMAXPROCS=1", "GOTRACEBACK=single", fmt.Sprintf("%s=%d", memoryVariable, memory)}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: flags}
	// Whatever this process was born with, such as a descriptor of the shell or
	// the unit that started it, is none of the worker's. Kernels before 5.11 do
	// not know the call; there it matters that Go's own descriptors do this anyway.
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if err := p.start(); err != nil {
		_ = conn.Close() // nothing was sent
		shared.unmap()
		return nil, err
	}
	return p, nil
}

// start runs the process from a thread that lives as long as it: the kernel's
// death signal is about the parent thread, not the parent process.
func (p *Process) start() error {
	started := make(chan error)
	go func() { // owned by Close, which waits for exited
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // ProcessState tells the rest
			close(p.exited)
		}
	}()
	return <-started
}

// How says how the worker confined itself.
func (p *Process) How() string { return p.how }

// PID is the worker's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Resident is the memory of the worker in bytes; 0 if it is gone: see the
// function of that name.
func (p *Process) Resident() int64 { return Resident(p.PID()) }

// Peak is the most that was ever resident of a worker that is gone, bytes, with
// the pages of the program; or, if that is more, of its parent when it was born.
func (p *Process) Peak() int64 {
	if usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		return usage.Maxrss << 10
	}
	return 0
}

// Alive reports whether the process still runs.
func (p *Process) Alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Close kills the worker and waits until it is gone.
func (p *Process) Close() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.exited
	_ = p.conn.Close() // nobody is left at the other end
	if p.progress.page != nil {
		p.progress.unmap()
		p.progress.page = nil
	}
}

// Load hands the worker its module. An error is a *Death; what is wrong with the
// module itself stands in Loaded.Err.
func (p *Process) Load(code []byte, limits Limits) (Loaded, error) {
	body, err := p.exchange(end(append(begin(nil, typeLoad), code...)), 1, typeLoaded, limits)
	if err != nil {
		return Loaded{}, err
	}
	l, err := decodeLoaded(body)
	if err != nil {
		return Loaded{}, p.death(err)
	}
	return l, nil
}

// Inspect describes a module without running any of it. An error is a *Death.
func (p *Process) Inspect(code []byte, limits Limits) (d wasm.Description, err error) {
	body, err := p.exchange(end(append(begin(nil, typeInspect), code...)), 1, typeInspected, limits)
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(body, &d); err != nil {
		return wasm.Description{}, p.death(fmt.Errorf("%w: %w", errFrame, err))
	}
	return d, nil
}

// Call runs a batch, in order. An error is a *Death: then the worker is gone
// and no result is left. The results are good until the next exchange.
func (p *Process) Call(b *Batch, limits Limits) ([]Result, error) {
	body, err := p.exchange(b.done(), b.n, typeResults, limits)
	if err != nil {
		return nil, err
	}
	p.results, err = decodeResults(p.results[:0], body, b.n)
	if err != nil {
		return nil, p.death(err)
	}
	if err := p.weigh(limits); err != nil {
		death := p.death(err)
		death.Call = b.n - 1 // it grew over many calls, of which this is the last
		return nil, death
	}
	return p.results, nil
}

// weighEvery is how often the memory of a worker is looked at whose calls are all
// over before the first tick.
const weighEvery = 20 * time.Millisecond

func (p *Process) weigh(limits Limits) error {
	now := time.Now()
	if now.Sub(p.weighed) < weighEvery {
		return nil
	}
	p.weighed = now
	return limits.memory(p.PID())
}

// tail keeps the first bytes of what a worker says at its end.
type tail struct{ buf bytes.Buffer }

func (t *tail) Write(b []byte) (int, error) {
	t.buf.Write(b[:min(len(b), max(0, 8<<10-t.buf.Len()))])
	return len(b), nil
}

func (t *tail) firstLine() string {
	line, _, _ := strings.Cut(strings.TrimSpace(t.buf.String()), "\n")
	return line
}
