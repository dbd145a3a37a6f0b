// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// connectEvery is how often a client opens a connection, whatever became of the ones
// before.
var connectEvery = chooseFaults(20*time.Millisecond, 5*time.Millisecond)

// A faultTraffic is the clients at work: each opens connections through its balancer,
// to all services in turn.
type faultTraffic struct {
	s  *faultStand
	wg sync.WaitGroup

	mu     sync.Mutex
	opened int            // guarded by mu
	failed map[string]int // by balancer and cause; guarded by mu
}

// newFaultTraffic begins with it.
func newFaultTraffic(s *faultStand) *faultTraffic {
	f := &faultTraffic{s: s, failed: map[string]int{}}
	stop := make(chan struct{})
	for _, b := range s.balancers {
		f.wg.Go(func() { f.client(b, stop) })
	}
	s.t.Cleanup(sync.OnceFunc(func() {
		close(stop)
		f.wg.Wait()
	}))
	return f
}

func (f *faultTraffic) client(b *faultNode, stop <-chan struct{}) {
	tick := time.NewTicker(connectEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		f.wg.Go(func() {
			who, err := b.askAt(b.client, "tcp", b.vip4(80+i%faultServices))
			if err == nil && !slices.ContainsFunc(f.s.backends, func(b *faultBackend) bool { return b.name == who }) {
				err = fmt.Errorf("answered by %q", who)
			}
			f.add(b.name, err)
		})
	}
}

func (f *faultTraffic) add(through string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened++
	if err == nil {
		return
	}
	cause := soakErr(err).Error()
	if no := syscall.Errno(0); errors.As(err, &no) {
		cause = no.Error()
	}
	f.failed[through+": "+cause]++
}

// result is what became of the connections since the last call.
func (f *faultTraffic) result() (opened int, refused int, failed map[string]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	opened, failed = f.opened, f.failed
	f.opened, f.failed = 0, map[string]int{}
	for cause, n := range failed {
		if strings.HasSuffix(cause, syscall.ECONNREFUSED.Error()) {
			refused += n
		}
	}
	return opened, refused, failed
}
