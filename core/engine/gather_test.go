// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A service without connection tracking begins with all of its backends, so that
// UDP flows do not all begin with the one that answered first; but it does not
// wait for long, and only once.
func TestServiceGathersItsBackends(t *testing.T) {
	s := web("web", "weighted", 1, 1)
	s.Forwarding = core.Stateless
	for _, tt := range []struct {
		name   string
		second time.Duration // when the second backend is heard of; 0 for never
		want   []uint32
	}{
		{"soon", 400 * time.Millisecond, []uint32{32768, 32768}},
		{"never", 0, []uint32{65536, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := &kernel{}
			engineTestWith(t, k, policies{"weighted": weighted}, setupOf(s), Config{}, func(t *testing.T, e *Engine, l *log) {
				say := func(backend string, ok bool, slots ...uint32) {
					t.Helper()
					e.say("web", backend, ok)
					synctest.Wait()
					want(t, k, "web", slots...)
				}
				say("b1", true, 0, 0)
				if b := e.backend(t, 0); b.Why != gatherNote {
					t.Errorf("b1 is said to have no share because %q", b.Why)
				}
				if tt.second > 0 {
					time.Sleep(tt.second)
					say("b2", true, tt.want...)
					return
				}
				time.Sleep(gatherPatience)
				synctest.Wait()
				want(t, k, "web", tt.want...)
				say("b2", true, 32768, 32768) // at once: the service has begun
			})
		})
	}
}

// A tracked service serves with the first backend that is up.
func TestTrackedServiceDoesNotGather(t *testing.T) {
	k := &kernel{}
	engineTestWith(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), Config{}, func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		synctest.Wait()
		want(t, k, "web", 65536, 0)
	})
}
