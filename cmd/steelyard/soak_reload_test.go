// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestSoakChanges does to the daemon what operators do: reloads that
// change everything around what clients use, stops and starts, an upgrade to
// another binary. Clients must not notice.
func TestSoakChanges(t *testing.T) {
	r := newRig(t, soakBackends)
	r.soaking()
	binary := r.copyBinary()
	l := r.load()
	for i := range choose(1, 10) {
		r.reloads(i)
		r.terminate()
		r.launch()
		r.answers()
		if out, code := r.steelyard("stop"); code != 0 {
			t.Errorf("stop: exit code %d: %s", code, out)
		}
		<-r.proc.Done()
		cmd := exec.Command(binary, "run", "-c", r.config)
		cmd.Stdout, cmd.Stderr = r.log, r.log
		var err error
		if r.proc, err = r.lab.Balancer.Start(cmd); err != nil {
			t.Fatal(err)
		}
		r.answers()
		l.talk(1)
	}
	r.untilShares("web", 33.3, 33.3, 33.3)
	l.mustBeWhole("reloads, stops, starts, upgrades")
}

// reloads goes through changed configurations and back to the first.
func (r *rig) reloads(round int) {
	r.t.Helper()
	echo := r.soakService("echo", 81, "", 1, 1, 1)
	for i, services := range []string{
		r.soakService("web", 80, "", 1, 0, 2) + echo,
		r.soakService("web", 80, "", 3, 1) + echo, // b3 is gone
		r.soakService("web", 80, "", 1, 1, 1) + echo + r.soakService("more", 8080+round, "", 1, 2),
		r.soakService("web", 80, "distribution: hash, ", 1, 1, 1) + echo,
		r.soakService("web", 80, "distribution: roundrobin, persistence: {timeout: 30s}, ", 1, 2, 1) + echo,
		r.soakService("web", 80, "forwarding: masquerade, ", 1, 1, 1) + echo,
		r.soakService("site", 80, "", 1, 1, 1) + echo,                               // by another name
		r.soakService("web", 80, "", 1, 1, 1) + r.soakService("echo", 81, "", 1, 1), // open ones on b3 stay
		r.soakService("web", 80, "", 1, 1, 1) + echo,
	} {
		r.write("services:\n" + services)
		if _, err := r.client.Reload(r.t.Context()); err != nil {
			r.t.Errorf("reload %d of round %d: %v", i, round, err)
		}
	}
}

// copyBinary is this program in another file.
func (r *rig) copyBinary() string {
	r.t.Helper()
	path := filepath.Join(r.dir, "steelyard-next")
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		r.t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return path
}
