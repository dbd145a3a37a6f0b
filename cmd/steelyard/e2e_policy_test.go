// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// hostile are policies that misbehave, and what must be said of each. On a slow
// machine the bomb meets the limit of CPU time before that of memory.
var hostile = map[string]*regexp.Regexp{
	"loop":  regexp.MustCompile("CPU time"),
	"trap":  regexp.MustCompile("unreachable"),
	"bomb":  regexp.MustCompile("memory|CPU time"),
	"short": regexp.MustCompile("no weight for backend"),
	"nan":   regexp.MustCompile("not a number"),
}

// Whatever a user's policy does: its service keeps the last good shares (here:
// the configured ones), the failure is in show and on the bus, and the
// services beside it are decided on time.
func TestHostilePolicies(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	module := func(name string) string {
		path, err := filepath.Abs("../../plugins/testdata/" + name + ".wasm")
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	policies, services := "policies:\n", "services:\n"
	port := 80
	add := func(name, policy string) {
		services += fmt.Sprintf("  %s: {vip: %s, port: %d, policy: %s, every: 200ms, probes: [alive], backends: %s}\n",
			name, r.lab.VIP4, port, policy, r.backends(false, 67, 33))
		port++
	}
	add("shipped", "weighted")
	for name := range hostile {
		policies += fmt.Sprintf("  %s: {path: %s}\n", name, module(name))
		add("uses-"+name, name)
	}
	// The monitor listens before the first of them fails: a failure is told once.
	r.write(r.web(67, 33))
	r.start()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var bus labtest.Log
	wg.Go(func() {
		_ = r.client.Monitor(ctx, ">", func(m admin.Line) error {
			_, err := fmt.Fprintf(&bus, "%s %s\n", m.Subject, m.Data)
			return err
		})
	})
	defer wg.Wait()
	defer cancel()
	r.until("the monitor listens", func() error {
		if bus.String() == "" {
			return errors.New("it has heard nothing")
		}
		return nil
	})
	var late time.Duration
	for range 3 { // policies that hold it up do so each time, and a busy machine does not
		r.reload(r.web(67, 33))
		r.reload(policies + services)
		if late = r.worstDelay(t, "shipped", 4*time.Second); late <= time.Second {
			break
		}
	}
	if late > time.Second {
		t.Errorf("the shipped policy's service was once not decided for %s; it is due every 200 ms", late)
	}
	for name, want := range hostile {
		service := "uses-" + name
		r.until(service+" says what is wrong", func() error {
			s, err := r.service(service)
			if err == nil && !want.MatchString(s.PolicyError) {
				err = fmt.Errorf("policy_error is %q, want it to match %s", s.PolicyError, want)
			}
			return err
		})
		r.untilShares(service, 67, 33)
		r.until(service+" is on the bus", func() error {
			for line := range strings.Lines(bus.String()) {
				if strings.Contains(line, ".event.") && strings.Contains(line, fmt.Sprintf("%q", service)) {
					return nil
				}
			}
			return errors.New("no event of it")
		})
	}
	var out bytes.Buffer
	if code := execute(t.Context(), []string{"show", "--socket", filepath.Join(r.dir, "control.sock")}, &out, &out); code != 0 {
		t.Fatalf("show: exit %d: %s", code, out.String())
	}
	for name := range hostile {
		if !strings.Contains(out.String(), "policy "+name) {
			t.Errorf("show does not tell of the policy %s:\n%s", name, out.String())
		}
	}
	t.Logf("longest wait of the shipped policy's service: %s\n%s", late, out.String())
}

// worstDelay is the longest time between two decisions of a service.
func (r *rig) worstDelay(t *testing.T, service string, over time.Duration) time.Duration {
	t.Helper()
	var worst time.Duration
	var last core.ServiceView
	for deadline := time.Now().Add(over); time.Now().Before(deadline); {
		s, err := r.service(service)
		if err != nil {
			t.Fatal(err)
		}
		if !last.DecidedAt.IsZero() {
			worst = max(worst, time.Since(s.DecidedAt))
		}
		last = s
		wait(20 * time.Millisecond)
	}
	return worst
}
