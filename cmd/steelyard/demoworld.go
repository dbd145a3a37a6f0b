// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab"
)

const demoWait = 20 * time.Second // for a process to answer for the first time

// A demoWorld is the lab of the demo with its processes: the backends, the
// daemon and the client, each this same binary.
type demoWorld struct {
	lab      *lab.Lab
	dir      string // configuration, socket, state and logs
	binary   string
	client   *admin.Client
	backends []*lab.Process
	daemon   *lab.Process
}

// demoDir is where a lab keeps its files. Only root can write there, and the
// lab's name is taken by one process at a time.
func demoDir(name string) string { return "/run/steelyard-" + name }

// newDemoWorld builds the lab and starts the backends.
func newDemoWorld(ctx context.Context, name string, keep bool) (*demoWorld, error) {
	w := &demoWorld{dir: demoDir(name)}
	var err error
	if w.binary, err = os.Executable(); err != nil {
		return nil, err
	}
	if w.lab, err = lab.New(ctx, lab.Config{Name: name, Backends: len(demoBackends), Detached: keep}); err != nil {
		return nil, err
	}
	w.client = admin.NewClient(w.socket())
	if err := w.prepare(ctx); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *demoWorld) prepare(ctx context.Context) error {
	if err := os.RemoveAll(w.dir); err != nil { // of one that was killed
		return err
	}
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(w.config(), []byte(w.yaml()), 0o600); err != nil {
		return err
	}
	for i := range demoBackends {
		w.backends = append(w.backends, nil)
		if err := w.startBackend(i); err != nil {
			return err
		}
	}
	for i := range demoBackends {
		if err := w.awaitBackend(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (w *demoWorld) config() string { return filepath.Join(w.dir, "steelyard.yaml") }
func (w *demoWorld) socket() string { return filepath.Join(w.dir, "control.sock") }
func (w *demoWorld) log() string    { return filepath.Join(w.dir, "daemon.log") }

// close ends the processes and removes lab and files.
func (w *demoWorld) close() error {
	return errors.Join(w.lab.Close(), os.RemoveAll(w.dir))
}

// removeDemo removes what --keep left, and reports whether there was anything.
func removeDemo(name string) (bool, error) {
	found, err := lab.Remove(name)
	if err != nil {
		return found, err
	}
	if _, err := os.Stat(demoDir(name)); errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	return true, os.RemoveAll(demoDir(name))
}

// yaml is the configuration of the daemon.
func (w *demoWorld) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Written by "steelyard demo".
node: demo
state_dir: %[1]s/state
control:
  socket: %[2]s
probes:
  alive: {type: http, path: /healthz, interval: 250ms, timeout: 200ms, rise: 2, fall: 2}
  cpu:   {type: snmp_cpu, community: public, interval: 1s, timeout: 500ms, window: 3s}
services:
  %[3]s:
    vip: %[4]s
    port: 80
    policy: least-cpu
    every: 500ms
    probes: [alive, cpu]
    shaping: {slow_start: 2s}
    backends:
`, w.dir, w.socket(), demoService, w.lab.VIP4)
	for i, be := range demoBackends {
		fmt.Fprintf(&b, "      %s: {address: %s, weight: 100}\n", be.name, w.lab.Backends[i].Addr4)
	}
	return b.String()
}

// startProcess runs this binary in a node; what it says goes to a file.
func (w *demoWorld) startProcess(n *lab.Node, stdout io.Writer, log string, args ...string) (*lab.Process, error) {
	f, err := os.OpenFile(filepath.Join(w.dir, log), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the process has its own
	cmd := exec.Command(w.binary, args...)
	cmd.Stdout, cmd.Stderr = stdout, f
	if stdout == nil {
		cmd.Stdout = f
	}
	cmd.Dir = "/"
	return n.Start(cmd)
}

func (w *demoWorld) startBackend(i int) (err error) {
	b := demoBackends[i]
	w.backends[i], err = w.startProcess(w.lab.Backends[i], nil, b.name+".log", "lab-backend", "--name", b.name,
		"--quota", strconv.FormatFloat(b.quota, 'g', -1, 64), "--work", demoWork.String())
	return err
}

func (w *demoWorld) startDaemon(ctx context.Context) (err error) {
	w.daemon, err = w.startProcess(w.lab.Balancer, nil, filepath.Base(w.log()), "run", "-c", w.config())
	if err != nil {
		return err
	}
	err = await(ctx, w.daemon, "the daemon", func(ctx context.Context) error {
		v, err := w.client.Node(ctx)
		if err != nil {
			return err
		}
		return allEqual(v)
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, w.logTail())
	}
	return nil
}

// demoEqual is how far shares that count as equal may be apart: the dead band
// ends their way there.
const demoEqual = 0.02

// allEqual wants every backend up and the shares equal, as they are before the
// traffic. On a busy machine a backend may miss its first probes and then has a
// slow start behind it.
func allEqual(v core.NodeView) error {
	if len(v.Services) == 0 {
		return errors.New("it has no service yet")
	}
	backends := v.Services[0].Backends
	for _, b := range backends {
		if want := 1 / float64(len(backends)); b.Health != core.Up || math.Abs(b.Share-want) > demoEqual {
			return fmt.Errorf("backend %s is %s with a share of %s", b.Name, b.Health, ratio(b.Share))
		}
	}
	return nil
}

// logTail is the end of the daemon's log, for an error message.
func (w *demoWorld) logTail() string {
	raw, err := os.ReadFile(w.log())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return "its log ends with:\n  " + strings.Join(lines[max(0, len(lines)-10):], "\n  ")
}

// startClient starts the traffic; reports go to take, which is called from one
// goroutine. The returned function ends the traffic: within grace the client
// waits for its last answers and reports them.
func (w *demoWorld) startClient(rate float64, take func(clientReport)) (stop func(grace time.Duration) error, err error) {
	r, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p, err := w.startProcess(w.lab.Client, out, "client.log", "lab-client", net.JoinHostPort(w.lab.VIP4.String(), "80"),
		"--rate", strconv.FormatFloat(rate, 'f', 1, 64), "--timeout", demoTimeout.String())
	_ = out.Close()
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	read := make(chan error, 1) // one result, taken by stop or left behind
	go func() {
		defer r.Close()
		for dec := json.NewDecoder(r); ; {
			var report clientReport
			if err := dec.Decode(&report); err != nil {
				read <- err
				return
			}
			take(report)
		}
	}()
	return func(grace time.Duration) error {
		p.Stop(grace)
		if err := <-read; !errors.Is(err, io.EOF) && grace > 0 {
			return fmt.Errorf("read what the client saw: %w", err)
		}
		return nil
	}, nil
}

// ask sends one request from the client's node past the balancer.
func (w *demoWorld) ask(ctx context.Context, i int, path string) (*http.Response, error) {
	url := "http://" + net.JoinHostPort(w.lab.Backends[i].Addr4.String(), "80") + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DialContext: w.lab.Client.DialContext, DisableKeepAlives: true}
	return transport.RoundTrip(req)
}

func (w *demoWorld) awaitBackend(ctx context.Context, i int) error {
	return await(ctx, w.backends[i], "backend "+demoBackends[i].name, func(ctx context.Context) error {
		resp, err := w.ask(ctx, i, "/healthz")
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
}

// await asks until ok returns nil. It gives up when the process ends, ctx is
// done, or demoWait is over.
func await(ctx context.Context, p *lab.Process, what string, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, demoWait)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return fmt.Errorf("start %s: it ended: %w", what, errors.Join(p.Err(), err))
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w: %w", what, ctx.Err(), err)
		case <-tick.C:
		}
	}
}
