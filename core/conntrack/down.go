// SPDX-License-Identifier: Apache-2.0

package conntrack

import "github.com/steelyard-lb/steelyard/core"

// A fate is what is to become of a backend's connections.
type fate struct {
	idle bool  // what it has reset is removed
	down scope // and of these, all
}

// A scope says which connections of a backend are to be deleted.
type scope uint8

const (
	nothing   scope = iota
	datagrams       // UDP
	everything
)

func (s scope) covers(protocol uint8) bool {
	return s == everything || s == datagrams && protocol == core.UDP.Number()
}

// SetIdle says whether a backend gets no new connections, because it is down or
// drained. From then on what is left of connections that an idle backend has
// reset is removed from the kernel's table: for 10 s after the reset a client
// that comes back from the same port would be sent to that backend once more, and
// each attempt begins the 10 s anew. A connection that is open, or was closed in
// the usual way, is left alone; the kernel itself gives the port of the latter free.
// While it has connections the counts are live. To say again that it is idle has
// them counted anew at once.
func (r *Reader) SetIdle(id core.BackendID, idle bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.fates[id]
	if !f.idle && !idle {
		return
	}
	f.idle = idle
	r.setFateLocked(id, f)
	if idle {
		r.sweep = true // there may be such entries already
	}
}

// SetDown says that a backend is down; call it after the commit that has taken
// it out of the kernel's rules. Its UDP connections are deleted, since a client
// that keeps its socket would stay with the dead backend for as long as it sends;
// with core.Reset all the others as well, so that the next packet of each is
// balanced anew and a live backend answers it with a reset. It returns at once.
// The deletion follows within milliseconds; entries that come later, from packets
// that had been balanced before, are deleted as they appear, and looked for again
// after a second and at each resync until SetUp.
func (r *Reader) SetDown(id core.BackendID, onDown core.OnDown) {
	s := datagrams
	if onDown == core.Reset {
		s = everything
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.fates[id]
	if f.down == s {
		return
	}
	f.down = s
	r.setFateLocked(id, f)
	r.cleanLocked(id, s)
}

// SetUp ends SetDown and Cut. What has been deleted stays so.
func (r *Reader) SetUp(id core.BackendID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.fates[id]; f.down != nothing {
		f.down = nothing
		r.setFateLocked(id, f)
	}
	delete(r.jobs, id)
	delete(r.inHand, id)
}

// Cut deletes all connections that a backend has now, as at the deadline of a
// drain, and returns at once. It looks once: a client that the kernel still sends
// to the backend comes back. SetDown with core.Reset keeps them away.
func (r *Reader) Cut(id core.BackendID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanLocked(id, everything)
}

func (r *Reader) setFateLocked(id core.BackendID, f fate) {
	if f == (fate{}) {
		delete(r.fates, id)
	} else {
		r.fates[id], r.alert = f, true
	}
	r.changed = true
	r.wakeUp()
}

// cleanLocked leaves a job for the cleaner; several of one backend become one.
func (r *Reader) cleanLocked(id core.BackendID, s scope) {
	r.jobs[id] = max(r.jobs[id], s)
	select {
	case r.clean <- struct{}{}:
	default: // it has not looked yet, and will find this one too
	}
}
