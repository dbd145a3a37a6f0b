// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
)

// A storm is commands of several operators at once, reloads of changed files and
// deaths.
type storm struct {
	*rig
	names   []string // of the services
	weights []int    // of the file, per backend; the last backend is not always there

	mu      sync.Mutex
	done    map[string]int    // guarded by mu; commands by kind
	last    map[string]string // guarded by mu; the latest by what it was about, of backends that stay
	refused []string          // guarded by mu; what should not have been
}

// operators are who commands which backends, so that it is known whose command was
// the latest. The last backend comes and goes.
var operators = map[string][]string{"alice": {"b1", "b3"}, "bob": {"b2"}}

// stormFor is how long it lasts; a slow machine does less in it, and ends the same.
const stormFor = 3 * time.Second

// file writes a configuration of these weights. After a kill the shares are those
// that the table tells, rounded; without a dead band they become exact again.
func (s *storm) file(weights ...int) {
	s.weights = weights
	text := "services:\n"
	for i, line := range []string{
		"hash: {distribution: hash, on_empty: drop", "turn: {distribution: roundrobin, hairpin: true",
		"web: {persistence: {timeout: 5m}, pins: {198.51.100.9: b1}",
	} {
		text += fmt.Sprintf("  %s, vip: %s, port: %d, policy: weighted, every: 100ms, shaping: {dead_band: 0}, probes: [alive], backends: %s}\n", line, s.lab.VIP4, 80+i, s.backends(false, weights...))
	}
	s.write(text)
}

// operator gives random commands until ctx is done.
func (s *storm) operator(ctx context.Context, name string, r *rand.Rand) {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	asked := context.WithoutCancel(ctx) // a command that began is waited for
	for ctx.Err() == nil {
		id := core.BackendID{Service: pick(s.names...), Backend: pick(operators[name]...)}
		switch kind := pick("drain", "ready", "ready", "weight", "pin", "unpin"); kind {
		case "pin", "unpin":
			client := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, name[0], byte(r.IntN(3))}), 32)
			req, now := core.PinRequest{Client: client, Author: name}, ""
			if kind == "pin" {
				req.Backend, now = id.Backend, id.Backend
			}
			res, err := s.client.Pin(asked, id.Service, req)
			s.note(kind, id.Service+" "+core.ClientText(client), id.Backend, now, res.NotInForce, err)
		default:
			req, now := core.OverrideRequest{Kind: core.OverrideKind(kind), Author: name}, kind
			if kind == "weight" {
				req.Weight = uint32(r.IntN(100))
				now = fmt.Sprintf("weight %d", req.Weight)
			}
			res, err := s.client.Override(asked, id, req)
			s.note(kind, id.String(), id.Backend, strings.TrimPrefix(now, "ready"), res.NotInForce, err)
		}
	}
}

// note files what became of a command. Nothing but the backend that comes and goes
// may be unknown, and the kernel refuses nothing.
func (s *storm) note(kind, what, backend, now, notYet string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done[kind]++
	var e *admin.Error
	comes := backend == "b3" && errors.As(err, &e) && (e.Code == admin.CodeUnknownBackend || strings.Contains(e.Message, "is not configured"))
	switch {
	case err != nil && !comes || strings.Contains(notYet, "kernel has refused"):
		s.refused = append(s.refused, fmt.Sprintf("%s of %s: %v, %q", kind, what, err, notYet))
	case err != nil: // it has changed nothing
	default:
		s.last[what] = now
	}
}

// lost are the commands of which the latest is not in force, though its backend
// has always been there.
func (s *storm) lost(f core.InForce) (list []string) {
	now := map[string]string{}
	for id, o := range f.Overrides {
		now[id] = strings.TrimSuffix(o.String(), " "+o.By())
	}
	for service, pins := range f.Pins {
		for _, p := range pins {
			now[service+" "+core.ClientText(p.Client)] = p.Backend
		}
	}
	for what, last := range s.last {
		if last != now[what] && last != "b3" && !strings.HasSuffix(what, "/b3") {
			list = append(list, fmt.Sprintf("%s is %q, want %q", what, now[what], last))
		}
	}
	return list
}

// blow lets two operators loose while files change and backends die.
func (s *storm) blow(seed uint64) {
	ctx, cancel := context.WithTimeout(s.t.Context(), stormFor)
	defer cancel()
	var all sync.WaitGroup
	for name := range operators {
		all.Go(func() { s.operator(ctx, name, rand.New(rand.NewPCG(seed, uint64(name[0])))) })
	}
	r := rand.New(rand.NewPCG(seed, 99))
	for ctx.Err() == nil {
		if w := s.worlds[r.IntN(len(s.worlds))]; r.IntN(2) == 0 {
			w.down()
		} else {
			w.down()
			w.up(s.t)
		}
		s.file([]int{1 + r.IntN(9), 1 + r.IntN(9), 1 + r.IntN(9)}[:2+r.IntN(2)]...)
		if _, err := s.client.Reload(s.t.Context()); err != nil {
			s.t.Errorf("reload: %v", err)
		}
		wait(time.Duration(r.IntN(40)) * time.Millisecond)
	}
	all.Wait()
	for _, w := range s.worlds {
		w.down()
		w.up(s.t)
	}
}

// wanted are the shares that the file and the commands in force make, all backends
// being up.
func (s *storm) wanted(f core.InForce, service string) []float64 {
	list, sum := make([]float64, len(s.weights)), 0.0
	for i, w := range s.weights {
		list[i] = float64(w)
		if o, ok := f.Overrides[fmt.Sprintf("%s/b%d", service, i+1)]; ok {
			list[i] = float64(o.Weight) // of a drain it is 0
		}
		sum += list[i]
	}
	for i := range list {
		if sum > 0 {
			list[i] *= 100 / sum
		}
	}
	return list
}

// settled waits until the shares are those of the file and of the commands, and
// the commands are kept; it returns what is in force then.
func (s *storm) settled() (f core.InForce) {
	s.t.Helper()
	s.until("the file and the commands are in force", func() (err error) {
		if f, err = s.client.InForce(s.t.Context()); err != nil {
			return err
		}
		for _, name := range s.names {
			if differs := s.shares(name, s.wanted(f, name)...); differs != nil {
				explained, _ := s.steelyard("explain", name)
				err = errors.Join(err, fmt.Errorf("%s of %v and %v: %w:\n%s", name, s.weights, f.Overrides, differs, explained))
			}
		}
		overrides, pins, lost := commandsLeft(filepath.Join(s.dir, "state"), time.Now())
		same := cmpopts.EquateComparable(netip.Prefix{})
		if diff := cmp.Diff(f.Overrides, overrides) + cmp.Diff(f.Pins, pins, same, cmpopts.EquateEmpty()); diff != "" {
			err = errors.Join(err, fmt.Errorf("kept (-in force +in files):\n%s", diff))
		}
		return errors.Join(err, lost)
	})
	return f
}

// wantNoChange says so if the plan of the file in force is not that nothing changes.
func (s *storm) wantNoChange(against string) {
	s.t.Helper()
	out, code := s.inBalancer("plan", "-c", s.config, "-o", "json")
	var res planResult
	if err := json.Unmarshal([]byte(out), &res); err != nil || code != exitOK || res.Changed || len(res.Refused) > 0 || res.Against != against {
		s.t.Errorf("plan: exit code %d, %v, want no change against the %s:\n%s", code, err, against, out)
	}
}

// TestStorm ends a storm with what the last file and the last commands say, in the
// daemon, in the kernel and on disk, and with no error on the way.
func TestStorm(t *testing.T) {
	const seed = 7
	s := &storm{rig: newRig(t, 3), names: []string{"hash", "turn", "web"}, done: map[string]int{}, last: map[string]string{}}
	s.file(1, 2, 3)
	s.start()
	for _, name := range s.names {
		s.untilShares(name, 100./6, 200./6, 300./6)
	}
	s.blow(seed)
	before := s.settled()
	s.wantNoChange(againstDaemon)
	for _, text := range s.lost(before) {
		t.Errorf("lost: %s", text)
	}
	for _, text := range s.refused {
		t.Errorf("refused: %s", text)
	}
	for _, name := range s.names {
		if v, err := s.service(name); err != nil || v.Error != "" || v.PolicyError != "" {
			t.Errorf("%s: %v, %q, %q", name, err, v.Error, v.PolicyError)
		}
	}
	s.kill()
	s.wantNoChange(againstKernel)
	s.start()
	after := s.settled()
	if diff := cmp.Diff(before.Overrides, after.Overrides); diff != "" {
		t.Errorf("overrides over a kill (-before +after):\n%s", diff)
	}
	s.wantNoChange(againstDaemon)
	for line := range strings.Lines(s.log.String()) {
		// Deaths are part of the storm.
		if strings.Contains(line, " ERR ") && !strings.Contains(line, "takes new connections any more") {
			t.Errorf("the log has an error: %s", line)
		}
	}
	if len(s.done) == 0 {
		t.Error("nobody commanded anything")
	}
	t.Logf("%v, %d overrides and %d pinned services in the end; files %v", s.done, len(before.Overrides), len(before.Pins), s.weights)
}
