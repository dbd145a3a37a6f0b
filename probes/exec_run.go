// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killGrace is how long a killed command may take to die, and drainGrace how long
// its output is waited for once it is dead: a process that left its session may
// hold the pipe.
const (
	killGrace  = time.Second
	drainGrace = 100 * time.Millisecond
)

// An execCommand is what to run, with all placeholders filled in.
type execCommand struct {
	args    []string // the first is the program, a whole path
	env     []string
	user    identity
	way     way
	timeout time.Duration
}

// An execRun is a command between its start and its end. It is dead at the end,
// and so is all that it started:
//
//   - Where we may (CAP_SYS_ADMIN), it is the first process of a PID namespace: when
//     that dies, the kernel kills the others, wherever they went.
//   - It leads a session and a process group of its own, and the group is killed.
//     Without a PID namespace a process that calls setsid is what gets away.
//   - It dies with us (PDEATHSIG).
//
// It is started from a thread that gave up what the command must not have, and
// that ends with it: see confineThread. So no helper program is needed, whose
// start would cost more than that of most commands.
type execRun struct {
	execCommand
	began    time.Time
	out, err *os.File      // what it writes, our ends
	started  chan error    // capacity 1: takes the one word on the start, whoever listens
	done     chan struct{} // closed when it is dead and waited for, or never was
	how      string        // it is confined; set before started

	mu     sync.Mutex
	pid    int  // guarded by mu; 0 before the start and once it was waited for
	killed bool // guarded by mu; by us

	status syscall.WaitStatus // set before done
}

// An execEnd is what became of a command.
type execEnd struct {
	how      string
	err      error // it could not be started
	status   syscall.WaitStatus
	timedOut bool
	flooded  bool
	stuck    bool // it was killed and does not die
	at       time.Time
	took     time.Duration

	out, errors *capture
}

// outcome says in a few words how it ended.
func (e *execEnd) outcome() string {
	switch {
	case e.stuck:
		return "killed, and not dead yet"
	case e.status.Signaled():
		return "signal " + unix.SignalName(e.status.Signal())
	}
	return fmt.Sprintf("exit code %d", e.status.ExitStatus())
}

// keepInherited marks the files that this process was itself started with, by a
// careless parent, so that no command gets them. All that Go opens is marked as it is.
var keepInherited = sync.OnceValue(func() error {
	return unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
})

// startExec starts a command. finish must be called.
func startExec(ctx context.Context, c execCommand) *execRun {
	_ = keepInherited() // a kernel before 5.11 cannot
	r := &execRun{execCommand: c, began: time.Now(), started: make(chan error, 1), done: make(chan struct{})}
	var theirOut, theirErr *os.File
	var err error
	if r.out, theirOut, err = os.Pipe(); err == nil {
		r.err, theirErr, err = os.Pipe()
	}
	if err != nil || ctx.Err() != nil {
		r.started <- errors.Join(err, ctx.Err())
		close(r.done)
		closeAll(theirOut, theirErr)
		return r
	}
	go r.supervise(theirOut, theirErr)
	return r
}

// supervise is the life of a command, in its network namespace.
func (r *execRun) supervise(out, err *os.File) {
	defer close(r.done)
	defer closeAll(out, err)
	failed := r.way.inside(func() error { return r.live(out, err) })
	if failed != nil {
		r.started <- failed
		return
	}
	end := time.Now().Add(drainGrace)
	_ = r.out.SetReadDeadline(end) // they may be closed already
	_ = r.err.SetReadDeadline(end)
}

// live starts the command and waits for its end. It stays on one thread, which is of
// no use to others afterwards and ends with the goroutine. PDEATHSIG and the trace go
// by the thread.
func (r *execRun) live(out, err *os.File) error {
	runtime.LockOSThread() // for ever
	process, failed := r.launch(out, err)
	closeAll(out, err)
	if failed != nil {
		return failed
	}
	r.mu.Lock()
	r.pid = process.Pid
	r.mu.Unlock()
	r.started <- nil
	waitable(process.Pid)
	// A dead leader that was not waited for still keeps its number: the group is its own.
	_ = unix.Kill(-process.Pid, unix.SIGKILL) // there may be no one left
	r.mu.Lock()
	r.pid = 0
	r.mu.Unlock()
	if state, err := process.Wait(); err == nil {
		r.status = state.Sys().(syscall.WaitStatus)
	}
	return nil
}

// launch confines the thread and starts the command from it.
func (r *execRun) launch(out, err *os.File) (*os.Process, error) {
	null, failed := os.Open(os.DevNull)
	if failed != nil {
		return nil, failed
	}
	defer null.Close() //nolint:errcheck // read only
	how, failed := confineThread(r.user)
	if failed != nil {
		return nil, failed
	}
	attr := &os.ProcAttr{Dir: "/", Env: r.env, Files: []*os.File{null, out, err}}
	// What the kernel may refuse is left out, one by one. The last attempt tells what
	// else was wrong.
	var process *os.Process
	for _, try := range []struct{ apart, traced bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		attr.Sys = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Credential: r.user.credential(), Ptrace: try.traced}
		said := how
		if try.apart {
			attr.Sys.Cloneflags = unix.CLONE_NEWPID
			said += ", a PID namespace of its own"
		}
		if process, failed = os.StartProcess(r.args[0], r.args, attr); failed == nil {
			r.how = said + ", " + limitProcess(process.Pid, r.user, r.timeout, try.traced)
			return process, nil
		}
		if !execRefused(failed) {
			break
		}
	}
	return nil, failed
}

// execRefused reports an error that a PID namespace or a trace may be the cause of:
// root without CAP_SYS_ADMIN, as in a container, or a kernel that will not have one more.
func execRefused(err error) bool {
	for _, e := range []error{syscall.EPERM, syscall.EACCES, syscall.EINVAL, syscall.ENOSPC, syscall.ENOSYS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// waitable blocks until a child can be waited for, and leaves it so.
func waitable(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// kill ends the command and its group, if it is there.
func (r *execRun) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pid == 0 {
		return
	}
	r.killed = true
	_ = unix.Kill(-r.pid, unix.SIGKILL) // a new leader may not have its group yet
	_ = unix.Kill(r.pid, unix.SIGKILL)
}

func (r *execRun) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// finish waits until the command is dead, which is a little after ctx at the
// latest, and reads what it writes meanwhile. execEnd.release must be called.
func (r *execRun) finish(ctx context.Context) *execEnd {
	e := &execEnd{out: newCapture(), errors: newCapture()}
	defer closeAll(r.out, r.err)
	end, ok := ctx.Deadline()
	if !ok {
		end = r.began.Add(r.timeout)
	}
	giveUp, cancel := context.WithDeadline(context.WithoutCancel(ctx), end.Add(killGrace))
	defer cancel()
	select {
	case e.err = <-r.started:
		e.how = r.how
	case <-giveUp.Done():
		e.err, e.stuck = errors.New("its start hangs in the kernel, most often on a network file system"), true
	}
	if e.err != nil {
		return e
	}
	defer context.AfterFunc(ctx, r.kill)()
	defer context.AfterFunc(giveUp, func() {
		_ = r.out.SetReadDeadline(time.Unix(1, 0))
		_ = r.err.SetReadDeadline(time.Unix(1, 0))
	})()
	var both sync.WaitGroup
	both.Go(func() { e.errors.read(r.err, r.kill) })
	e.out.read(r.out, r.kill)
	both.Wait()
	select {
	case <-r.done:
		e.status = r.status
	case <-giveUp.Done():
		e.stuck = true
	}
	e.at, e.took = time.Now(), time.Since(r.began)
	r.mu.Lock()
	defer r.mu.Unlock()
	e.flooded = e.out.size > maxFlood || e.errors.size > maxFlood
	// What has come to its end in the last moment counts.
	e.timedOut = !e.flooded && r.killed && (e.stuck || e.status.Signaled())
	return e
}

// release gives back what an execEnd holds.
func (e *execEnd) release() {
	e.out.release()
	e.errors.release()
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close() // pipes: nothing is lost
		}
	}
}
