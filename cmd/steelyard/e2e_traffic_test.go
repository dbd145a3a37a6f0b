// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// three4 is the part of the configuration that most of these tests use.
func (r *rig) web(weights ...int) string {
	return fmt.Sprintf("services:\n  web: {vip: %s, port: 80, policy: weighted, every: 200ms, probes: [alive], backends: %s}\n",
		r.lab.VIP4, r.backends(false, weights...))
}

// 10,000 connections over weights 67:33 lie within five standard deviations, as all but
// one run in a million do,
// and the kernel's own counters agree with what the client saw.
func TestTrafficFollowsTheWeights(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.write(r.web(67, 33))
	r.start()
	r.untilShares("web", 67, 33)
	const n = 10000
	got := r.askMany("tcp", r.vip4(80), n, nil)
	if len(got.failed) > 0 {
		t.Fatalf("%d connections, failed: %v", got.asked, got.failed)
	}
	sigma := math.Sqrt(n * 0.67 * 0.33)
	if d := math.Abs(float64(got.by["b1"]) - 0.67*n); d > 5*sigma {
		t.Errorf("b1 got %d of %d, off by %.0f; five sigma are %.0f", got.by["b1"], n, d, 5*sigma)
	}
	t.Logf("b1 %d, b2 %d of %d; five sigma are %.0f", got.by["b1"], got.by["b2"], n, 5*sigma)
	r.until("the kernel counted every connection", func() error {
		s, err := r.service("web")
		if err != nil {
			return err
		}
		if s.ConnectionsTotal != n || s.Backends[0].ConnectionsTotal != uint64(got.by["b1"]) {
			return fmt.Errorf("the kernel counted %d, %d of them to b1; the client saw %d and %d",
				s.ConnectionsTotal, s.Backends[0].ConnectionsTotal, n, got.by["b1"])
		}
		return nil
	})
}

// Every family, protocol and forwarding mode reaches a backend.
func TestTrafficOfEveryKind(t *testing.T) {
	r := newRig(t, 2)
	var services strings.Builder
	services.WriteString("services:\n")
	type kind struct{ name, network, addr string }
	var kinds []kind
	port := 80
	for _, v6 := range []bool{false, true} {
		for _, proto := range []string{"tcp", "udp"} {
			for _, fwd := range []string{"dnat", "masquerade"} {
				vip, addr := r.lab.VIP4, r.vip4(port)
				if v6 {
					vip, addr = r.lab.VIP6, r.vip6(port)
				}
				name := fmt.Sprintf("s%d-%s-%s", port, proto, fwd)
				fmt.Fprintf(&services, "  %s: {vip: '%s', port: %d, protocol: %s, forwarding: %s, policy: rr, probes: [alive], backends: %s}\n",
					name, vip, port, proto, fwd, r.backends(v6, 1, 1))
				kinds = append(kinds, kind{name, proto, addr})
				port++
			}
		}
	}
	r.write(services.String())
	r.start()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			r.untilShares(k.name, 50, 50)
			got := r.askMany(k.network, k.addr, 100, nil)
			if len(got.failed) > 0 || got.by["b1"] < 20 || got.by["b2"] < 20 {
				t.Errorf("100 connections: answers %v, failed %v", got.by, got.failed)
			}
		})
	}
}

// A dead backend gets no new connection after the commit, and no commit waits for the
// interval of its service; BenchmarkDeathToCommit1000x16 says how soon they follow.
func TestDeathUnderTraffic(t *testing.T) {
	r := newRig(t, 3)
	r.write(strings.Replace(r.web(1, 1, 1), "every: 200ms", "every: 1m", 1)) // who waits for that is seen
	r.start()
	r.untilShares("web", 33.3, 33.3, 33.3)
	var took []float64
	for i := range 9 {
		w := r.worlds[i%3]
		stop := r.background("tcp", r.vip4(80))
		w.down()
		r.until(w.name+" is out of the kernel", func() error {
			s, err := r.service("web")
			if err != nil {
				return err
			}
			if b := s.Backends[i%3]; b.Slots != 0 || b.Health != core.Down {
				return fmt.Errorf("%s is %s with %d slots", b.Name, b.Health, b.Slots)
			}
			return nil
		})
		d := r.decisionOf(t, w.name+" went down")
		took = append(took, d.TotalSeconds)
		committed := time.Now()
		lost := stop()
		for cause := range lost.failed {
			if cause != syscall.ECONNREFUSED.Error() && cause != syscall.ECONNRESET.Error() && cause != "EOF" {
				t.Errorf("failed for another reason than the dead backend: %v", lost.failed)
			}
		}
		after := r.askMany("tcp", r.vip4(80), 300, nil)
		if len(after.failed) > 0 || after.by[w.name] > 0 {
			t.Errorf("%s after the commit: failed %v, answers %v", time.Since(committed), after.failed, after.by)
		}
		w.up(t)
		r.untilShares("web", 33.3, 33.3, 33.3)
	}
	worst := 0.0
	for _, s := range took {
		worst = max(worst, s)
	}
	t.Logf("from death noticed to commit, %d deaths: worst %.2f ms of %v", len(took), 1000*worst, took)
	if worst > 10 {
		t.Errorf("the slowest of %d commits came %.1f s after the death was noticed", len(took), worst)
	}
}

// decisionOf finds the latest decision with a trigger.
func (r *rig) decisionOf(t *testing.T, trigger string) core.Decision {
	t.Helper()
	ds, err := r.client.Decisions(t.Context(), "web", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range ds {
		if d.Trigger == trigger && d.Commit != nil {
			return d
		}
	}
	t.Fatalf("no committed decision %q among %d", trigger, len(ds))
	return core.Decision{}
}

// With no backend left a client is refused at once, and what listens on the
// balancer itself at the same port never hears of it.
func TestAllDeadIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	host, err := r.lab.Balancer.Listen("tcp", r.vip4(80))
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	heard := make(chan string, 1)
	go func() {
		if c, err := host.Accept(); err == nil {
			heard <- c.RemoteAddr().String()
		}
	}()
	r.write(r.web(1, 1))
	r.start()
	r.untilShares("web", 50, 50)
	r.worlds[0].down()
	r.worlds[1].down()
	r.untilShares("web", 0, 0)
	late := 0 // whoever hears nothing asks again after a second
	for range 20 {
		start := time.Now()
		if who, err := r.ask("tcp", r.vip4(80)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("asked an empty service: answer %q, error %v, want connection refused", who, err)
		}
		if time.Since(start) > 900*time.Millisecond {
			late++
		}
	}
	if late > 5 {
		t.Errorf("%d of 20 refusals came late", late)
	}
	select {
	case who := <-heard:
		t.Errorf("the balancer's own listener heard from %s", who)
	default:
	}
	r.until("refusals are counted", func() error {
		s, err := r.service("web")
		if err == nil && s.RefusedTotal < 20 {
			err = fmt.Errorf("refused_total is %d, want at least 20", s.RefusedTotal)
		}
		return err
	})
	r.worlds[0].up(t)
	r.untilShares("web", 100, 0)
	if _, err := r.ask("tcp", r.vip4(80)); err != nil {
		t.Errorf("after a backend came back: %v", err)
	}
}

// The daemon is killed and started again under traffic, three times: no
// connection fails, and the counters go on.
func TestKillAndRestartUnderTraffic(t *testing.T) {
	r := newRig(t, 2)
	r.write(r.web(67, 33))
	r.start()
	r.untilShares("web", 67, 33)
	stop := r.background("tcp", r.vip4(80))
	for range 3 {
		r.kill()
		wait(200 * time.Millisecond)
		r.start()
		r.untilShares("web", 67, 33)
	}
	got := stop()
	if len(got.failed) > 0 {
		t.Errorf("%d connections, failed: %v", got.asked, got.failed)
	}
	if v, err := r.client.Node(t.Context()); err != nil || !v.Kernel.Adopted {
		t.Errorf("the table was not adopted: %+v, %v", v.Kernel, err)
	}
	// The client comes round to ports that it used seconds ago: conntrack may
	// still know such a connection, and then it is not a new one to the kernel.
	r.until("counters went on", func() error {
		s, err := r.service("web")
		if err == nil && s.ConnectionsTotal < uint64(got.asked)*98/100 {
			err = fmt.Errorf("connections_total is %d after %d", s.ConnectionsTotal, got.asked)
		}
		return err
	})
	t.Logf("%d connections over three kill -9: %v", got.asked, got.by)
}

// SIGTERM leaves the rules; stop --flush takes them along.
func TestStop(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.write(r.web(1))
	r.start()
	r.untilShares("web", 100)
	if err := r.proc.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-r.proc.Done()
	if _, err := r.ask("tcp", r.vip4(80)); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	r.start()
	if out, code := r.steelyard("stop", "--flush"); code != 0 {
		t.Fatalf("stop --flush: exit %d: %s", code, out)
	}
	<-r.proc.Done()
	out, err := r.lab.Balancer.Command(t.Context(), "nft", "list", "ruleset")
	if err != nil || strings.TrimSpace(string(out)) != "" {
		t.Errorf("after stop --flush the ruleset is %q, err %v", out, err)
	}
}

// A reload with any error changes nothing; a good one keeps counters and health.
func TestReload(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.write(r.web(67, 33))
	r.start()
	r.untilShares("web", 67, 33)
	before := r.ruleset(t)
	r.write(r.web(67, 2000) + "  broken: {vip: 10.0.0.1}\n")
	out, code := r.steelyard("reload")
	if code == 0 || !strings.Contains(out, "weight") || !strings.Contains(out, "steelyard.yaml:") {
		t.Errorf("bad reload: exit %d:\n%s", code, out)
	}
	if diff := r.ruleset(t); diff != before {
		t.Errorf("a bad reload changed the ruleset:\n%s\nbefore:\n%s", diff, before)
	}
	if v, err := r.client.Node(t.Context()); err != nil || v.ReloadError == "" {
		t.Errorf("status does not show the failed reload: %v", err)
	}
	r.write(strings.Replace(r.web(67, 33), "policy: weighted", "policy: least-cpu, params: {alpha: 7}", 1))
	if out, code := r.steelyard("reload"); code == 0 || !strings.Contains(out, "alpha") {
		t.Errorf("reload with a parameter out of range: exit %d:\n%s", code, out)
	}
	stop := r.background("tcp", r.vip4(80))
	r.write(r.web(20, 80))
	if err := r.proc.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.untilShares("web", 20, 80)
	if got := stop(); len(got.failed) > 0 {
		t.Errorf("reload under traffic: failed %v", got.failed)
	}
	r.until("counters went on over the reload", func() error {
		s, err := r.service("web")
		if err == nil && s.ConnectionsTotal == 0 {
			err = errors.New("connections_total is 0")
		}
		return err
	})
}

// ruleset is our table as nft lists it, without its counters.
func (r *rig) ruleset(t *testing.T) string {
	t.Helper()
	out, err := r.lab.Balancer.Command(t.Context(), "nft", "--stateless", "list", "table", "inet", "steelyard")
	if err != nil {
		t.Fatalf("list the table: %v: %s", err, out)
	}
	return string(out)
}
