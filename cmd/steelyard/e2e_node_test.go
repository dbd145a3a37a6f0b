// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core/admin"
)

// A node that does not forward says so at the start, after a reload, and in the
// view, until it is mended.
func TestNodeThatDoesNotForward(t *testing.T) {
	r := newRig(t, 1)
	r.sysctl(t, "net.ipv4.ip_forward=0")
	r.write(r.web(1))
	r.start()
	r.untilShares("web", 100)
	v, err := r.client.Node(t.Context())
	if err != nil || len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "net.ipv4.ip_forward=1") {
		t.Errorf("warnings %q, err %v", v.Warnings, err)
	}
	if !v.Bus.Connected || v.Bus.Received == 0 {
		t.Errorf("the bus in the view: %+v", v.Bus)
	}
	r.sysctl(t, "net.ipv4.ip_forward=1")
	if _, err := r.client.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v, err := r.client.Node(t.Context()); err != nil || len(v.Warnings) > 0 {
		t.Errorf("mended: warnings %q, err %v", v.Warnings, err)
	}
	if n := strings.Count(r.log.String(), "does not forward IPv4"); n != 1 {
		t.Errorf("%d lines in the log, want one of the start", n)
	}
	r.sysctl(t, "net.ipv4.ip_forward=0")
	if err := r.client.Monitor(t.Context(), "event.>", r.reloadAndAwait("does not forward IPv4")); !errors.Is(err, errSeen) {
		t.Errorf("no event of the reload: %v", err)
	}
	// What is wrong with the files has a code of its own.
	r.write("services: {web: {}}\n")
	var e *admin.Error
	if _, err := r.client.Reload(t.Context()); !errors.As(err, &e) || e.Code != admin.CodeInvalid {
		t.Errorf("reload of a bad file: %v, want code %s", err, admin.CodeInvalid)
	}
	r.write(r.web(1) + "bus: {listen: '127.0.0.1:0', users: {a: {password: b}}}\n")
	if _, err := r.client.Reload(t.Context()); !errors.As(err, &e) || e.Code != admin.CodeReloadFailed {
		t.Errorf("reload of what takes a restart: %v, want code %s", err, admin.CodeReloadFailed)
	}
}

var errSeen = errors.New("seen")

// reloadAndAwait is a reader of the monitor's that asks for reloads, since it
// does not know when the stream has begun, and ends it at a line with a text.
func (r *rig) reloadAndAwait(text string) func(admin.Line) error {
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	r.t.Cleanup(cancel)
	go func() {
		for err := error(nil); err == nil && ctx.Err() == nil; {
			_, err = r.client.Reload(ctx)
			wait(100 * time.Millisecond)
		}
	}()
	return func(l admin.Line) error {
		if strings.Contains(string(l.Data), text) {
			cancel()
			return errSeen
		}
		return ctx.Err()
	}
}

func (r *rig) sysctl(t *testing.T, set string) {
	t.Helper()
	if out, err := r.lab.Balancer.Command(t.Context(), "sysctl", "-qw", set); err != nil {
		t.Fatalf("sysctl %s: %v: %s", set, err, out)
	}
}

// A control socket that cannot be made ends the start before the kernel is
// touched.
func TestControlSocketThatCannotBeMade(t *testing.T) {
	r := newRig(t, 1)
	r.write(r.web(1))
	if err := os.WriteFile(filepath.Join(r.dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "run", "-c", r.config, "--set", "control.socket="+filepath.Join(r.dir, "file", "control.sock"))
	cmd.Stdout, cmd.Stderr = r.log, r.log
	p, err := r.lab.Balancer.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if p.Err() == nil || !strings.Contains(r.log.String(), "control socket") {
		t.Errorf("the daemon ended with %v", p.Err())
	}
	if out, err := r.lab.Balancer.Command(t.Context(), "nft", "list", "ruleset"); err != nil || strings.TrimSpace(string(out)) != "" {
		t.Errorf("it left rules: %q, err %v", out, err)
	}
}
