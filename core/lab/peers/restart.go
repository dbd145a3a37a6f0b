// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab"
)

const (
	liveBackends = 3
	probeEvery   = time.Millisecond
	// calm is how long probes run before the kill and after the restart; not one
	// of those before it may fail.
	calm = 300 * time.Millisecond
)

// A side is one of the two that are restarted.
type side struct {
	name  string
	lab   *lab.Lab
	start func(context.Context) error
	// serves waits, after the first start, until every service does; nil if it
	// does when start is back.
	serves func(context.Context) error
	proc   func() *lab.Process
	runs   []outage
}

// An outage is what clients saw of one restart.
type outage struct {
	took   time.Duration // from the kill until the daemon answered again
	probes int           // begun in that time
	failed int           // of all probes since the kill
	down   time.Duration // from the first that failed to the last
}

// restart kills both daemons under traffic, in turn, and starts them again.
func (b *bench) restart(ctx context.Context) (t table, err error) {
	var sides []*side
	for _, name := range []string{"nftlb", "steelyard"} {
		l, err := b.stage(ctx, "re-"+name, liveBackends)
		if err != nil {
			return t, err
		}
		defer closing(l, &err)
		s, err := b.newSide(name, l)
		if err != nil {
			return t, err
		}
		b.note("restart: %s loads %d services", name, b.services)
		if err := s.start(ctx); err != nil {
			return t, err
		}
		if s.serves != nil {
			if err := s.serves(ctx); err != nil {
				return t, err
			}
		}
		sides = append(sides, s)
	}
	for run := range b.runs {
		b.note("restart: run %d of %d", run+1, b.runs)
		for _, s := range sides {
			o, err := b.restartOne(ctx, s)
			if err != nil {
				return t, fmt.Errorf("%s: %w", s.name, err)
			}
			s.runs = append(s.runs, o)
		}
	}
	return b.restartTable(sides), nil
}

func (b *bench) newSide(name string, l *lab.Lab) (*side, error) {
	if _, err := startServers(l); err != nil {
		return nil, err
	}
	if name == "nftlb" {
		n, err := b.newNftlb(l, liveFarms(l, b.services))
		return &side{name: name, lab: l, start: n.start, proc: func() *lab.Process { return n.proc }}, err
	}
	services := make([]listen, b.services)
	for i := range services {
		services[i] = listen{firstPort + i, core.DNAT}
	}
	d, err := b.newDaemon(l, services)
	return &side{name: name, lab: l, start: d.start, serves: d.serves, proc: func() *lab.Process { return d.proc }}, err
}

// A knock is one probe from the client.
type knock struct {
	began, ended time.Time
	err          error
}

func (b *bench) restartOne(ctx context.Context, s *side) (outage, error) {
	pctx, stop := context.WithCancel(ctx)
	defer stop()
	result := make(chan []knock, 1)
	go func() { result <- b.knock(pctx, s.lab) }() // ends with pctx; waited for below
	pause := func() { wait(ctx, calm) }
	pause()
	killed := time.Now()
	s.proc().Kill()
	err := s.start(ctx)
	ready := time.Now()
	pause()
	stop()
	knocks := <-result
	if err != nil {
		return outage{}, err
	}
	return outageOf(knocks, killed, ready)
}

// knock probes the services in turn until ctx is done.
func (b *bench) knock(ctx context.Context, l *lab.Lab) (list []knock) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		addr := address(l.VIP4, firstPort+i%b.services)
		k := knock{began: time.Now()}
		k.err = l.Client.Do(func() error { return exchange(addr) })
		k.ended = time.Now()
		list = append(list, k)
		<-tick.C
	}
	return list
}

func outageOf(knocks []knock, killed, ready time.Time) (outage, error) {
	o := outage{took: ready.Sub(killed)}
	var first time.Time
	for _, k := range knocks {
		if k.began.After(killed) && k.began.Before(ready) {
			o.probes++
		}
		if k.err == nil {
			continue
		}
		if k.ended.Before(killed) {
			return o, fmt.Errorf("a probe failed before the kill: %w", k.err)
		}
		if first.IsZero() {
			first = k.began
		}
		o.failed++
		o.down = k.ended.Sub(first)
	}
	return o, nil
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (b *bench) restartTable(sides []*side) table {
	t := table{
		title: "Restart under traffic",
		intro: fmt.Sprintf("%d services × %d backends; the daemon is killed with SIGKILL and started again while one client opens a connection every %s, to each service in turn. "+
			"Shares are of the probes between the kill and the daemon's answer, all runs together; times are medians.", b.services, liveBackends, "millisecond"),
		head: []string{"what", "failed probes", "share", "down, first to last failure", "until the daemon answers"},
	}
	for _, s := range sides {
		var failed, probes int
		var down, took []time.Duration
		for _, o := range s.runs {
			failed += o.failed
			probes += o.probes
			down, took = append(down, o.down), append(took, o.took)
		}
		t.row(s.name, fmt.Sprintf("%d of %d", failed, probes), fmt.Sprintf("%.1f %%", 100*float64(failed)/float64(max(probes, 1))),
			ms(quantile(down, 0.5)), ms(quantile(took, 0.5)))
	}
	return t
}
