// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// A rig is a lab with the real daemon in its balancer and real servers behind
// it. The daemon is this test binary, run again: see TestMain.
type rig struct {
	t      *testing.T
	lab    *lab.Lab
	dir    string
	config string
	args   []string // of run, besides the configuration
	client *admin.Client
	proc   *lab.Process
	log    *labtest.Log
	worlds []*world // per backend

	alive    string        // keys of the probe of that name; empty: see aliveKeys
	patience time.Duration // of clients, with one answer; 0: see waitFor
}

// aliveKeys and waitFor are patient: on a busy machine everybody may have to wait for a
// processor, and that is neither a dead backend nor a lost connection.
func (r *rig) aliveKeys() string {
	return cmp.Or(r.alive, "interval: 200ms, timeout: 190ms, rise: 1, fall: 3")
}

func (r *rig) waitFor() time.Duration { return cmp.Or(r.patience, 10*time.Second) }

// newRig builds the lab. Backends serve TCP and UDP on port 80, v4 and v6.
func newRig(t *testing.T, backends int) *rig {
	t.Helper()
	needPlainWorker(t)
	dir := t.TempDir()
	r := &rig{t: t, dir: dir, config: filepath.Join(dir, "steelyard.yaml"), log: &labtest.Log{}}
	r.lab = labtest.New(t, lab.Config{Backends: backends, IPv6: true})
	r.client = admin.NewClient(filepath.Join(dir, "control.sock"))
	for _, n := range r.lab.Backends {
		w := newWorld(t, n)
		r.worlds = append(r.worlds, w)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the daemon:\n%s", r.log)
		}
	})
	return r
}

// write makes the configuration from the services part; probes are common.
func (r *rig) write(services string) {
	r.t.Helper()
	text := fmt.Sprintf(`node: test
state_dir: %[1]s/state
control: {socket: %[1]s/control.sock}
log: {level: debug, format: text}
probes:
  alive: {type: tcp, %[2]s}
%[3]s`, r.dir, r.aliveKeys(), services)
	if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// backends is the YAML of the backends, with these weights.
func (r *rig) backends(v6 bool, weights ...int) string {
	var b strings.Builder
	b.WriteString("{")
	for i, w := range weights {
		addr := r.lab.Backends[i].Addr4
		if v6 {
			addr = r.lab.Backends[i].Addr6
		}
		fmt.Fprintf(&b, "b%d: {address: '%s', port: 80, weight: %d}, ", i+1, addr, w)
	}
	return b.String() + "}"
}

// startPatience is how long a daemon may take to start: a worker built with the
// race detector compiles the shipped policies for 20 s on a machine that is busy.
const startPatience = 60 * time.Second

// start runs the daemon and waits until it answers.
func (r *rig) start(env ...string) {
	r.t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{"run", "-c", r.config}, r.args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = r.log, r.log
	p, err := r.lab.Balancer.Start(cmd)
	if err != nil {
		r.t.Fatal(err)
	}
	r.proc = p
	r.untilWithin(startPatience, "the daemon answers", func() error {
		_, err := r.client.Node(r.t.Context())
		return err
	})
}

// until waits for ok to return nil; it fails the test after 40 s.
func (r *rig) until(what string, ok func() error) {
	r.t.Helper()
	r.untilWithin(40*time.Second, what, ok)
}

// untilWithin is until with another patience.
func (r *rig) untilWithin(patience time.Duration, what string, ok func() error) {
	r.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if err = ok(); err == nil {
			return
		}
		wait(20 * time.Millisecond)
	}
	r.t.Fatalf("%s: %v", what, err)
}

// wait lets real processes do something; used only to poll for what they did.
func wait(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	<-ctx.Done()
}

// service is the present state of a service.
func (r *rig) service(name string) (core.ServiceView, error) {
	v, err := r.client.Node(r.t.Context())
	if err != nil {
		return core.ServiceView{}, err
	}
	for _, s := range v.Services {
		if s.Name == name {
			return s, nil
		}
	}
	return core.ServiceView{}, fmt.Errorf("service %s is not there", name)
}

// untilShares waits until the shares of a service are these, in percent.
func (r *rig) untilShares(name string, percent ...float64) {
	r.t.Helper()
	r.until(fmt.Sprintf("shares of %s are %v", name, percent), func() error { return r.shares(name, percent...) })
}

// wantShares says so if the shares of a service are not these now, in percent.
func (r *rig) wantShares(name string, percent ...float64) {
	r.t.Helper()
	if err := r.shares(name, percent...); err != nil {
		r.t.Error(err)
	}
}

// shares says how the shares of a service differ from these, in percent.
func (r *rig) shares(name string, percent ...float64) error {
	s, err := r.service(name)
	if err != nil {
		return err
	}
	for i, want := range percent {
		if got := 100 * s.Backends[i].Share; got < want-0.1 || got > want+0.1 {
			return fmt.Errorf("%s has %.2f %%, want %.2f %% (%s)", s.Backends[i].Name, got, want, s.Backends[i].Why)
		}
	}
	return nil
}

// steelyard runs a client command against the rig's daemon.
func (r *rig) steelyard(args ...string) (string, int) {
	var out bytes.Buffer
	code := execute(r.t.Context(), append(args, "--socket", filepath.Join(r.dir, "control.sock")), &out, &out)
	return out.String(), code
}

// kill ends the daemon as a crash would.
func (r *rig) kill() {
	r.t.Helper()
	if err := r.proc.Signal(syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	<-r.proc.Done()
}

// A world is what listens in one backend: every connection and datagram is
// answered with the backend's name.
type world struct {
	node    *lab.Node
	name    string
	answers atomic.Int64 // connections answered
	mu      sync.Mutex
	open    []io.Closer // guarded by mu
}

func newWorld(t *testing.T, n *lab.Node) *world {
	t.Helper()
	w := &world{node: n, name: n.Name}
	w.up(t)
	t.Cleanup(w.down)
	return w
}

// up opens the listeners.
func (w *world) up(t *testing.T) {
	t.Helper()
	for _, addr := range []string{n4(w.node), n6(w.node)} {
		l, err := w.node.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		p, err := w.node.ListenPacket("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		w.open = append(w.open, l, p)
		w.mu.Unlock()
		go w.serveTCP(l)
		go w.serveUDP(p)
	}
}

// down closes them: from then on the backend refuses.
func (w *world) down() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		_ = c.Close()
	}
	w.open = nil
}

func (w *world) serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			// A health probe connects and says nothing; it is not counted.
			if _, err := c.Read(make([]byte, 1)); err != nil {
				return
			}
			w.answers.Add(1)
			_, _ = io.WriteString(c, w.name)
		}()
	}
}

func (w *world) serveUDP(p net.PacketConn) {
	buf := make([]byte, 64)
	for {
		_, from, err := p.ReadFrom(buf)
		if err != nil {
			return
		}
		w.answers.Add(1)
		_, _ = p.WriteTo([]byte(w.name), from)
	}
}

func n4(n *lab.Node) string { return net.JoinHostPort(n.Addr4.String(), "80") }
func n6(n *lab.Node) string { return net.JoinHostPort(n.Addr6.String(), "80") }

// ask makes one connection from the client and returns who answered.
func (r *rig) ask(network, addr string) (string, error) {
	return r.askAt(r.lab.Client, network, addr)
}

// askAt is ask from another node.
func (r *rig) askAt(from *lab.Node, network, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), r.waitFor())
	defer cancel()
	c, err := from.DialContext(ctx, network, addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // 10,000 connections must not use up the client's ports
	}
	_ = c.SetDeadline(time.Now().Add(r.waitFor()))
	if _, err := c.Write([]byte("?")); err != nil {
		return "", err
	}
	buf := make([]byte, 16)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

// A tally is what many connections came to.
type tally struct {
	mu     sync.Mutex
	by     map[string]int // guarded by mu; answers per backend
	failed map[string]int // guarded by mu; failures per cause
	asked  int            // guarded by mu
}

func (c *tally) add(who string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if err == nil {
		c.by[who]++
		return
	}
	cause := err.Error()
	var no syscall.Errno
	if errors.As(err, &no) {
		cause = no.Error()
	}
	c.failed[cause]++
}

// askMany makes n connections, 8 at a time; with n 0 it goes on until stop is
// closed.
func (r *rig) askMany(network, addr string, n int, stop <-chan struct{}) *tally {
	c := &tally{by: map[string]int{}, failed: map[string]int{}}
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n == 0 || left.Add(-1) >= 0 {
				select {
				case <-stop:
					return
				default:
				}
				c.add(r.ask(network, addr))
			}
		})
	}
	wg.Wait()
	return c
}

// background runs askMany until the returned function is called, or the test
// ends, as it does when it fails before that.
func (r *rig) background(network, addr string) func() *tally {
	stop := make(chan struct{})
	done := make(chan *tally, 1)
	go func() { done <- r.askMany(network, addr, 0, stop) }()
	end := sync.OnceValue(func() *tally {
		close(stop)
		return <-done
	})
	r.t.Cleanup(func() { end() })
	return end
}

func (r *rig) vip4(port int) string { return net.JoinHostPort(r.lab.VIP4.String(), strconv.Itoa(port)) }
func (r *rig) vip6(port int) string { return net.JoinHostPort(r.lab.VIP6.String(), strconv.Itoa(port)) }
