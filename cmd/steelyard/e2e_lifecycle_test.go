// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab"
)

// spawn runs the daemon without waiting for it, and returns once it has said
// something with this text in it.
func (r *rig) spawn(text string) *lab.Process {
	r.t.Helper()
	mark := len(r.log.String())
	cmd := exec.Command("/proc/self/exe", "run", "-c", r.config)
	cmd.Stdout, cmd.Stderr = r.log, r.log
	p, err := r.lab.Balancer.Start(cmd)
	if err != nil {
		r.t.Fatal(err)
	}
	for deadline := time.Now().Add(startPatience); !strings.Contains(r.log.String()[mark:], text); {
		if time.Now().After(deadline) {
			r.t.Fatalf("the daemon did not say %q", text)
		}
		wait(time.Millisecond)
	}
	return p
}

// A signal that comes while the daemon still starts does what it does later:
// SIGHUP reloads, SIGTERM ends it without an error.
func TestSignalsDuringStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.write(r.web(1))
	r.proc = r.spawn("Starting nats-server") // the policies are loaded after that
	if err := r.proc.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.untilWithin(startPatience, "the reload that the signal asked for", func() error {
		if !strings.Contains(r.log.String(), "configuration reloaded") {
			return os.ErrNotExist
		}
		return nil
	})
	r.untilShares("web", 100)
	r.kill()
	for _, text := range []string{"Starting nats-server", "Server is ready", "policy worker started"} {
		p := r.spawn(text)
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-p.Done()
		if err := p.Err(); err != nil {
			t.Errorf("SIGTERM after %q: %v", text, err)
		}
	}
}

// Reloads that are asked for at the same time follow one another: each ends
// well, and probes, policies and engine have the newest files in the end.
func TestReloadsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.write(r.web(1))
	r.start()
	r.untilShares("web", 100)
	for i := range 10 {
		weights := []int{1, 1}[:1+(i+1)%2]
		r.write(r.web(weights...))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := r.client.Reload(t.Context()); err != nil {
					t.Errorf("reload beside others: %v", err)
				}
			})
			if err := r.proc.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
		r.until("every backend is probed", func() error {
			s, err := r.service("web")
			if err == nil && len(s.Backends) != len(weights) {
				err = fmt.Errorf("%d backends, want %d", len(s.Backends), len(weights))
			}
			for _, b := range s.Backends {
				if b.Health != core.Up {
					err = fmt.Errorf("%s is %s", b.Name, b.Health)
				}
			}
			return err
		})
	}
}

// A client that was reset by a backend just before that died, and comes back
// from the same port, reaches another one.
func TestPortThatADeadBackendReset(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.write(r.web(1, 1))
	r.start()
	r.untilShares("web", 50, 50)
	var ports []int // whose connection b1 had and reset
	for port := 20000; len(ports) < 5; port++ {
		// The server reads one byte and closes: the second one makes that a reset.
		if who, err := r.askFrom(port, "??"); err == nil && who == "b1" {
			ports = append(ports, port)
		}
	}
	r.worlds[0].down()
	r.untilShares("web", 0, 100)
	for _, port := range ports {
		// The kernel's table is read a moment after the commit.
		r.until(fmt.Sprintf("a connection from port %d", port), func() error {
			who, err := r.askFrom(port, "?")
			if err == nil && who != "b2" {
				err = fmt.Errorf("%q answered, want b2", who)
			}
			return err
		})
	}
}

// askFrom is ask for TCP, from a port of the client's.
func (r *rig) askFrom(port int, question string) (who string, err error) {
	err = r.lab.Client.Do(func() error {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: r.lab.Client.Addr4.AsSlice(), Port: port}, Timeout: r.waitFor()}
		c, err := d.DialContext(r.t.Context(), "tcp4", r.vip4(80))
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(r.waitFor()))
		if _, err := io.WriteString(c, question); err != nil {
			return err
		}
		buf := make([]byte, 16)
		n, err := c.Read(buf)
		who = string(buf[:n])
		return err
	})
	return who, err
}
