// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Process runs inside a node, as the leader of its own process group.
type Process struct {
	Node *Node
	PID  int

	done chan struct{} // closed when the process has been waited for
	err  error         // valid once done is closed
}

// Start starts cmd inside the node. The lab waits for it and ends it: the
// caller must not call cmd.Wait. If the lab is not Detached the kernel kills
// the process as soon as its owner is dead.
func (n *Node) Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{Node: n, done: make(chan struct{})}
	if err := n.lab.spawner.start(p, cmd); err != nil {
		return nil, fmt.Errorf("start %s in node %s: %w", cmd.Path, n.Name, err)
	}
	if err := n.lab.record.add(p.PID); err != nil {
		p.Stop(0)
		return nil, fmt.Errorf("record process %d: %w", p.PID, err)
	}
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is what exec.Cmd.Wait returned. Call it after Done is closed.
func (p *Process) Err() error { return p.err }

// Signal sends a signal to the process, not to its group.
func (p *Process) Signal(sig syscall.Signal) error {
	select {
	case <-p.done:
		return fmt.Errorf("signal process %d: it has ended", p.PID)
	default:
		return unix.Kill(p.PID, sig)
	}
}

// Kill ends the process and its group at once, and waits for it.
func (p *Process) Kill() { p.Stop(0) }

// Stop sends SIGTERM, waits up to grace, then kills the whole group; it returns
// when the process has been waited for.
func (p *Process) Stop(grace time.Duration) {
	if grace > 0 && p.Signal(unix.SIGTERM) == nil {
		select {
		case <-p.done:
			return
		case <-time.After(grace):
		}
	}
	select {
	case <-p.done:
	default:
		_ = unix.Kill(-p.PID, unix.SIGKILL)
		<-p.done
	}
}

// wait waits for the end of the process. What is left of its group is killed
// before its id is freed, so that the id cannot mean anything else yet.
func (p *Process) wait(cmd *exec.Cmd) {
	defer close(p.done)
	for {
		err := unix.Waitid(unix.P_PID, p.PID, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = unix.Kill(-p.PID, unix.SIGKILL)
	p.err = cmd.Wait()
}

// A spawner starts all processes of a lab from one thread that lives as long as
// the lab. The parent-death signal is tied to the thread that forked, not to
// the process: from a passing thread it would come too early.
type spawner struct {
	detached bool
	jobs     chan spawnJob // unbuffered: start waits for its turn
	ended    chan struct{} // closed when the thread is gone
	stopOnce sync.Once

	mu        sync.Mutex
	closed    bool       // guarded by mu
	processes []*Process // guarded by mu
}

type spawnJob struct {
	p     *Process
	cmd   *exec.Cmd
	reply chan error // capacity 1: the thread never waits for it
}

func startSpawner(detached bool) *spawner {
	s := &spawner{detached: detached, jobs: make(chan spawnJob), ended: make(chan struct{})}
	go s.run()
	return s
}

// run is the thread. It is never unlocked, so it dies with this function.
func (s *spawner) run() {
	defer close(s.ended)
	runtime.LockOSThread()
	for j := range s.jobs {
		err := j.p.Node.enter()
		if err == nil {
			err = s.spawn(j.p, j.cmd)
		}
		j.reply <- err
	}
}

func (s *spawner) spawn(p *Process, cmd *exec.Cmd) error {
	attr := syscall.SysProcAttr{}
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	attr.Setpgid = true
	if !s.detached {
		attr.Pdeathsig = syscall.SIGKILL
	}
	cmd.SysProcAttr = &attr
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = time.Second // a grandchild may hold the output open
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.PID = cmd.Process.Pid
	go p.wait(cmd) // stopAll waits for it
	return nil
}

// start holds the lock until the process is on the list, so that stopAll misses
// none.
func (s *spawner) start(p *Process, cmd *exec.Cmd) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("the lab is closed")
	}
	j := spawnJob{p, cmd, make(chan error, 1)}
	s.jobs <- j
	if err := <-j.reply; err != nil {
		return err
	}
	s.processes = append(s.processes, p)
	return nil
}

// stopAll ends every process, all at the same time, and then the thread.
func (s *spawner) stopAll(grace time.Duration) {
	s.mu.Lock()
	s.closed = true
	processes := s.processes
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range processes {
		wg.Go(func() { p.Stop(grace) })
	}
	wg.Wait()
	s.release()
}

// release ends the thread and leaves the processes alone.
func (s *spawner) release() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stopOnce.Do(func() { close(s.jobs) })
	<-s.ended
}
