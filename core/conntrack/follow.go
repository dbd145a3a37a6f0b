// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"
)

// eventsSysctl says which connections can tell of themselves: with 0 none, with
// 1 all, and with 2, the default of newer kernels, those that began while somebody
// listened in their namespace.
const eventsSysctl = "/proc/sys/net/netfilter/nf_conntrack_events"

// The settings of eventsSysctl.
const (
	eventsOff  = "0"
	eventsOn   = "1"
	eventsAuto = "2"
)

// lookEvery is how often the loop looks whether backends that get no new
// connections have any left.
const lookEvery = time.Second

// A follower knows whether the kernel's events are followed, and why. They cost
// more than balancing the connection itself, so nobody listens unless something
// needs them.
type follower struct {
	wanted bool // by Watch
	// fated says that some backend with a fate has connections, or had when it got
	// it: what they leave behind is to be removed when they tell of it.
	fated    bool
	fatedAt  time.Time // when a backend last got a fate
	lookedAt time.Time // when fated was last looked at

	setting string // of eventsSysctl; empty until it has been read
	joined  bool
	at      time.Time // of joining
}

// alert says that some backend has got a fate.
func (f *follower) alert(now time.Time) { f.fated, f.fatedAt, f.lookedAt = true, now, now }

// possible reports whether events can come at all.
func (f *follower) possible() bool { return f.setting != eventsOff }

// needed reports whether events are to be followed. Where connections that begin
// now would not be able to tell of their end later, that is always.
func (f *follower) needed() bool {
	return f.possible() && (f.wanted || f.fated || f.setting == eventsAuto)
}

// attend begins and ends following the events as it is needed.
func (l *loop) attend(now time.Time) error {
	l.lookAtFated(now)
	f := &l.follow
	if f.needed() == f.joined {
		return nil
	}
	if f.joined {
		return l.stopFollowing()
	}
	if err := join(l.events); err != nil {
		return err
	}
	f.joined, f.at = true, now
	l.gap, l.pause = min(firstResync, l.resync), pause
	l.due, l.again = now, true // what has happened until now
	l.log.Debug("conntrack events are followed", "for_counts", f.wanted, "for_idle_backends", f.fated)
	return nil
}

// stopFollowing leaves, and takes what has come until then: it would mislead
// when events are followed the next time.
func (l *loop) stopFollowing() error {
	if err := leave(l.events); err != nil {
		return err
	}
	l.follow.joined = false
	now := time.Now()
	for l.more = true; l.more; {
		if err := l.readEvents(); err != nil {
			return err
		}
	}
	l.tableMu.Lock()
	l.table.restartPassives()
	if l.stats.Live {
		l.readAt, l.stats.Live = now, false // they are as good as just read
	}
	l.tableMu.Unlock()
	l.due = now.Add(l.unhurried())
	l.log.Debug("conntrack events are not followed any more")
	return nil
}

// lookAtFated ends following for the sake of backends that have no connections
// left, once those that the kernel had begun to send there have arrived.
func (l *loop) lookAtFated(now time.Time) {
	f := &l.follow
	switch {
	case !f.fated:
	case l.fates == nil:
		f.fated = false
	case l.live() && now.Sub(f.fatedAt) >= lookAgain && now.Sub(f.lookedAt) >= lookEvery:
		f.fated, f.lookedAt = l.anyFated(), now
	}
}

// anyFated reports whether a backend with a fate has connections.
func (l *loop) anyFated() bool {
	for i := range l.table.slots {
		if l.table.slots[i].count.Open > 0 && l.fates != nil && l.fates[l.table.index.backend[i]] != (fate{}) {
			return true
		}
	}
	return false
}

// live reports whether the counts follow the events: a reading of the whole
// table that began after joining has ended.
func (l *loop) live() bool { return l.stats.Live }

// checkSetting follows what becomes of eventsSysctl.
func (l *loop) checkSetting() {
	setting, err := l.ns.enableEvents()
	if setting == l.follow.setting {
		return
	}
	l.follow.setting = setting
	switch setting {
	case eventsAuto:
		l.log.Info("conntrack events are followed all the time, which costs CPU; set net.netfilter.nf_conntrack_events to 1", "err", err)
	case eventsOff:
		l.log.Warn("conntrack events are switched off, so open connections are counted late; set net.netfilter.nf_conntrack_events to 1")
	}
}

// enableEvents has all connections from now on able to tell of themselves, unless
// an operator has switched that off, and returns eventsSysctl as it is then: those
// that cannot would go unnoticed when the events are needed later.
func (n *namespace) enableEvents() (setting string, err error) {
	err = n.do(func() error {
		raw, err := os.ReadFile(eventsSysctl)
		if errors.Is(err, fs.ErrNotExist) { // CONFIG_NF_CONNTRACK_EVENTS is not set
			setting = eventsOff
			return nil
		}
		if setting = strings.TrimSpace(string(raw)); err != nil || setting != eventsAuto {
			return err
		}
		if err := os.WriteFile(eventsSysctl, []byte(eventsOn), 0); err != nil {
			return err
		}
		setting = eventsOn
		return nil
	})
	if setting == "" {
		setting = eventsAuto // the careful reading
	}
	return setting, err
}
