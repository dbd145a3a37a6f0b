// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"bytes"
	"context"
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
)

// Limits of an exchange with a worker.
type Limits struct {
	CPU  time.Duration // of the worker, per call
	Wall time.Duration // per call
	RSS  int64         // resident memory of the worker, bytes
}

// A Death is the end of a worker in the middle of an exchange. The process is
// gone when it is returned.
type Death struct {
	Call  int    // the call that ran, -1 if none did
	Cause string // in a few words, for an operator
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
	in, out  []byte
	results  []Result
}

// helloLimits bound the start; the memory cap is that of any Go program.
var helloLimits = Limits{CPU: 10 * time.Second, Wall: 30 * time.Second, RSS: 256 << 20}

// Start runs command as a worker and waits until it is confined. The program
// must call Main. ctx bounds the start only.
func Start(ctx context.Context, command []string) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	flags := uintptr(0)
	if os.Geteuid() == 0 {
		flags = unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	}
	p, err := spawn(command, flags)
	if errors.Is(err, syscall.EPERM) && flags != 0 { // root without CAP_SYS_ADMIN, as in a container
		p, err = spawn(command, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	kind, body, err := p.receive(helloLimits)
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

func spawn(command []string, flags uintptr) (*Process, error) {
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
	p.cmd.Env = []string{"GOMAXPROCS=1", "GOMEMLIMIT=192MiB", "GOTRACEBACK=single"}
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

// Resident is the resident memory of the worker in bytes; 0 if it is gone.
func (p *Process) Resident() int64 { return residentBytes(p.PID()) }

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

// Load hands a module to the worker under an id. An error is a *Death; what is
// wrong with the module itself stands in Loaded.Err.
func (p *Process) Load(id uint32, code []byte, limits Limits) (Loaded, error) {
	p.out = append(le.AppendUint32(begin(p.out, typeLoad), id), code...)
	body, err := p.exchange(end(p.out), typeLoaded, limits)
	p.out = nil // modules are large and rare
	if err != nil {
		return Loaded{}, err
	}
	l, err := decodeLoaded(body)
	if err != nil {
		return Loaded{}, p.death(err)
	}
	return l, nil
}

// Unload frees a module.
func (p *Process) Unload(id uint32, limits Limits) error {
	p.out = le.AppendUint32(begin(p.out, typeUnload), id)
	_, err := p.exchange(end(p.out), typeLoaded, limits)
	return err
}

// Call runs a batch, in order. An error is a *Death: then the worker is gone
// and no result is left. The results are good until the next exchange.
func (p *Process) Call(calls []Call, limits Limits) ([]Result, error) {
	p.out = appendCalls(p.out, calls)
	body, err := p.exchange(p.out, typeResults, limits)
	if err != nil {
		return nil, err
	}
	p.results, err = decodeResults(p.results[:0], body, len(calls))
	if err != nil {
		return nil, p.death(err)
	}
	return p.results, nil
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
