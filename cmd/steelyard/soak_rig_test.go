// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// soakLong says that `make soak` runs these tests, and not `go test`.
var soakLong = os.Getenv("STEELYARD_SOAK") != ""

// choose is how much of something the tests do: in CI, or in `make soak`.
func choose[T any](short, long T) T {
	if soakLong {
		return long
	}
	return short
}

const (
	soakBackends = 3
	soakHeld     = 12 // connections that stay open
)

// soak is a service on port 80, which clients ask all the time, and one on port
// 81, whose connections stay open. Its weights hang on k.
func (r *rig) soak(k int) string {
	return fmt.Sprintf("services:\n%s%s", r.soakService("web", 80, "", 20+k*37%60, 20+k*23%60, 20), r.soakService("echo", 81, "", 1, 1, 1))
}

// soakService is a service with a backend for each weight.
func (r *rig) soakService(name string, port int, more string, weights ...int) string {
	return fmt.Sprintf("  %s: {vip: %s, port: %d, policy: weighted, every: 200ms, probes: [alive], %sbackends: %s}\n",
		name, r.lab.VIP4, port, more, strings.ReplaceAll(r.backends(false, weights...), "port: 80", fmt.Sprintf("port: %d", port)))
}

// launch runs the daemon and does not wait for it.
func (r *rig) launch(args ...string) {
	r.t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{"run", "-c", r.config}, args...)...)
	cmd.Stdout, cmd.Stderr = r.log, r.log
	var err error
	if r.proc, err = r.lab.Balancer.Start(cmd); err != nil {
		r.t.Fatal(err)
	}
}

// answers waits until the daemon does.
func (r *rig) answers() {
	r.t.Helper()
	r.untilWithin(startPatience, "the daemon answers", func() error {
		select {
		case <-r.proc.Done():
			r.t.Fatalf("the daemon has ended: %v", r.proc.Err())
		default:
		}
		_, err := r.client.Node(r.t.Context())
		return err
	})
}

// soaking starts the daemon with both services and waits until they have their
// shares.
func (r *rig) soaking(args ...string) {
	r.t.Helper()
	r.echoes()
	r.write(r.soak(0))
	r.launch(args...)
	r.answers()
	r.untilShares("web", 33.3, 33.3, 33.3)
	r.untilShares("echo", 33.3, 33.3, 33.3)
}

// A load is clients at work: some ask anew all the time, and some keep a
// connection open and talk on it.
type load struct {
	rig    *rig
	asked  *tally // new connections
	talked *tally // questions on open connections; one that breaks is opened anew
	held   int
	stop   chan struct{}
	wg     sync.WaitGroup
	end    func()
}

// load starts the clients. They pause between two questions, so that a test on a
// busy machine tests the balancer and not the machine.
func (r *rig) load() *load {
	l := &load{rig: r, asked: newTally(), talked: newTally(), stop: make(chan struct{})}
	for range 4 {
		l.wg.Go(func() {
			for l.goesOn(2 * time.Millisecond) {
				who, err := r.ask("tcp", r.vip4(80))
				l.asked.add(who, soakErr(err))
			}
		})
	}
	l.talk(soakHeld)
	l.end = sync.OnceFunc(func() {
		close(l.stop)
		l.wg.Wait()
	})
	r.t.Cleanup(l.end)
	return l
}

func newTally() *tally { return &tally{by: map[string]int{}, failed: map[string]int{}} }

// errLate stands for all that took too long, whatever connection it was.
var errLate = errors.New("timed out")

func soakErr(err error) error {
	if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
		return errLate
	}
	return err
}

// talk opens more connections that stay open, and talks on each.
func (l *load) talk(n int) {
	l.held += n
	for range n {
		l.wg.Go(func() {
			var c net.Conn
			for l.goesOn(20 * time.Millisecond) {
				if c == nil {
					if c = l.open(); c == nil {
						continue
					}
					defer c.Close()
				}
				err := echoWithin(c, l.rig.waitFor())
				l.talked.add("", soakErr(err))
				if err != nil {
					c = nil
				}
			}
		})
	}
}

// open opens a connection to talk on; nil if that fails, which counts as a
// failure to open one.
func (l *load) open() net.Conn {
	ctx, cancel := context.WithTimeout(l.rig.t.Context(), l.rig.waitFor())
	defer cancel()
	c, err := l.rig.lab.Client.DialContext(ctx, "tcp", l.rig.vip4(81))
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(l.rig.waitFor()))
		_, err = io.ReadFull(c, make([]byte, 2)) // the name of who answers
	}
	l.asked.add("open", soakErr(err))
	if err != nil {
		return nil
	}
	return c
}

// goesOn pauses, and reports whether the load goes on.
func (l *load) goesOn(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-l.stop:
		return false
	case <-timer.C:
		return true
	}
}

// ended stops the clients and says what became of them.
func (l *load) ended() string {
	l.end()
	return fmt.Sprintf("%d new connections, failed: %v; %d questions on %d open connections, broken: %v",
		l.asked.asked, l.asked.failed, l.talked.asked, l.held, l.talked.failed)
}

// mustBeWhole ends the load and fails the test unless every connection was served.
func (l *load) mustBeWhole(what string) {
	l.rig.t.Helper()
	text := l.ended()
	l.rig.t.Logf("%s: %s", what, text)
	if len(l.asked.failed) > 0 || len(l.talked.failed) > 0 {
		l.rig.t.Errorf("connections were lost")
	}
	if l.asked.asked < 100 || l.talked.asked < 100 {
		l.rig.t.Errorf("that is too little to show anything")
	}
}

// terminate ends the daemon as an operator does.
func (r *rig) terminate() {
	r.t.Helper()
	if err := r.proc.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	<-r.proc.Done()
	if err := r.proc.Err(); err != nil {
		r.t.Errorf("SIGTERM: %v", err)
	}
}
