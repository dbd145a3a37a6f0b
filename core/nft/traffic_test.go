// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"math"
	"net"
	"os"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

const patience = 20 * time.Second // for an answer that is to come

// trafficPlan has one service of each kind in front of the world's backends.
func trafficPlan() core.Plan {
	v4 := []core.BackendPlan{backend("b1", "10.0.2.11:8080", 49152), backend("b2", "10.0.2.12:8080", 16384), backend("b3", "10.0.2.13:8080", 0)}
	v6 := []core.BackendPlan{backend("b1", "[fd00:2::11]:8080", 49152), backend("b2", "[fd00:2::12]:8080", 16384), backend("b3", "[fd00:2::13]:8080", 0)}
	masq4, masq6 := service("masq4", "10.0.9.1:81", core.TCP, v4...), service("masq6", "[fd00:9::1]:81", core.UDP, v6...)
	p := plan(forwarding(masq4, core.Masquerade), forwarding(masq6, core.Masquerade),
		service("tcp4", "10.0.9.1:80", core.TCP, v4...), service("tcp6", "[fd00:9::1]:80", core.TCP, v6...),
		service("udp4", "10.0.9.1:80", core.UDP, v4...), service("udp6", "[fd00:9::1]:80", core.UDP, v6...))
	p.LocalClients = true
	return p
}

// newTraffic is a world with everything in it: backends that answer, the plan
// in force, and a listener of the balancer's own on the services' ports, which
// nothing may ever reach.
func newTraffic(t *testing.T, p core.Plan) (*world, *Applier) {
	w := newWorld(t)
	for _, a := range []string{"10.0.2.1", "fd00:2::1"} {
		for i, name := range []string{"b1", "b2", "b3"} {
			w.serve(w.backends, name, net.JoinHostPort(a+string(rune('1'+i)), "8080"))
		}
	}
	for _, port := range []string{"80", "81"} {
		w.serve(w.balancer, "balancer", ":"+port)
	}
	var a *Applier
	w.in(w.balancer, func() {
		var err error
		a, err = Open(Config{})
		w.must(err)
		_, refused, err := a.Sync(context.Background(), p)
		w.must(errors.Join(err, errorOf(refused)))
	})
	t.Cleanup(func() { a.Close() })
	return w, a
}

func errorOf(refused map[string]error) error {
	for _, err := range refused {
		return err
	}
	return nil
}

// TestTrafficFollowsWeights asks every service from the client and, as a local
// client would, from the balancer. The shares must be the weights', the backend
// must see who it should see, and the counters must have counted each one.
func TestTrafficFollowsWeights(t *testing.T) {
	p := trafficPlan()
	w, a := newTraffic(t, p)
	const asked, local = 400, 20
	for _, s := range p.Services {
		addr := serviceAddr(s)
		got := map[string]int{}
		w.in(w.client, func() {
			for range asked {
				name, client, err := ask(string(s.First().Protocol), addr, patience)
				w.must(err)
				got[name]++
				if want := seenClient(s); client != want {
					t.Errorf("service %s: the backend sees %s, want %s", s.Name, client, want)
					return
				}
			}
		})
		// Five standard deviations of a binomial distribution with p = 3/4.
		want, five := asked*3/4, int(5*math.Sqrt(asked*3.0/16))
		if got["b1"]+got["b2"] != asked || got["b1"] < want-five || got["b1"] > want+five {
			t.Errorf("service %s: answers %v: want b1 %d±%d, the rest b2", s.Name, got, want, five)
		}
		w.in(w.balancer, func() {
			for range local {
				name, _, err := ask(string(s.First().Protocol), addr, patience)
				w.must(err)
				got[name]++
			}
		})
		counts, err := a.Counters(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"b1", "b2", "b3"} {
			if n := counts[core.CounterKey{Service: s.Name, Backend: name}].Connections; n != uint64(got[name]) {
				t.Errorf("backend %s/%s: counted %d, asked %d", s.Name, name, n, got[name])
			}
		}
		if c := counts[core.CounterKey{Service: s.Name}]; c.Connections != asked+local || c.Refused != 0 {
			t.Errorf("service %s: counted %+v, want %d connections", s.Name, c, asked+local)
		}
	}
}

// seenClient is whom a backend takes the client for.
func seenClient(s core.ServicePlan) string {
	v6, masq := s.First().Addr().Is6(), s.Forwarding == core.Masquerade
	switch {
	case v6 && masq:
		return "fd00:2::1"
	case v6:
		return "fd00:1::2"
	case masq:
		return "10.0.2.1"
	default:
		return "10.0.1.2"
	}
}

// TestTrafficOfAnEmptyService takes all weights away. The client must be told
// at once, or met with silence, as configured; the balancer's own listener on
// the same port must not be reached. Then the weights come back.
func TestTrafficOfAnEmptyService(t *testing.T) {
	for _, onEmpty := range []core.OnEmpty{core.Reject, core.Drop} {
		t.Run(string(onEmpty), func(t *testing.T) {
			p := trafficPlan()
			for i := range p.Services {
				p.Services[i] = with(p.Services[i], func(t *core.Traffic) { t.OnEmpty = onEmpty })
			}
			w, a := newTraffic(t, p)
			full := planOf(a.known)
			for i := range p.Services {
				for j := range p.Services[i].Backends {
					p.Services[i].Backends[j].Slots = 0
				}
			}
			if _, err := a.Reweight(context.Background(), p.Services); err != nil {
				t.Fatal(err)
			}
			for _, s := range p.Services {
				expectNobody(t, w, a, s)
			}
			if _, err := a.Reweight(context.Background(), full.Services); err != nil {
				t.Fatal(err)
			}
			w.in(w.client, func() {
				for _, s := range p.Services {
					_, _, err := ask(string(s.First().Protocol), serviceAddr(s), patience)
					w.must(err)
				}
			})
		})
	}
}

func serviceAddr(s core.ServicePlan) string {
	return s.First().Address()
}

func expectNobody(t *testing.T, w *world, a *Applier, s core.ServicePlan) {
	t.Helper()
	wait, refused := patience, func(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }
	if s.OnEmpty == core.Drop {
		// Long enough for an answer that should not be there; silence is the
		// result, so there is nothing else to wait for.
		wait, refused = 100*time.Millisecond, os.IsTimeout
	}
	where := []struct {
		name string
		run  func(func())
	}{
		{"client", func(f func()) { w.in(w.client, f) }},
		{"balancer", func(f func()) { w.in(w.balancer, f) }},
	}
	for _, at := range where {
		at.run(func() {
			name, _, err := ask(string(s.First().Protocol), serviceAddr(s), wait)
			// What a hook of its own machine drops fails for the sender as a whole.
			if local := at.name == "balancer" && errors.Is(err, unix.EPERM); !refused(err) && !local {
				t.Errorf("service %s asked from the %s: answer %q, %v: want %s", s.Name, at.name, name, err, s.OnEmpty)
			}
		})
	}
	counts, err := a.Counters(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if c := counts[core.CounterKey{Service: s.Name}]; c.Refused < 2 || c.Connections != 0 {
		t.Errorf("service %s: counted %+v, want at least 2 refused", s.Name, c)
	}
}
