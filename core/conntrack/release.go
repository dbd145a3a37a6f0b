// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// SetIdle says whether a backend gets no new connections, because it is down or
// drained. From then on what is left of connections that an idle backend has
// reset is removed from the kernel's table: for 10 s after the reset a client
// that comes back from the same port would be sent to that backend once more, and
// each attempt begins the 10 s anew. A connection that is open, or was closed in
// the usual way, is left alone; the kernel itself gives the port of the latter free.
func (r *Reader) SetIdle(id core.BackendID, idle bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, was := r.idle[id]; was == idle {
		return
	}
	if !idle {
		delete(r.idle, id)
		return
	}
	r.idle[id] = struct{}{}
	r.sweep = true // there may be such entries already
	r.wakeLocked()
}

// releaseLocked removes the connection of a message if its backend is idle and
// has reset it. The kernel compares the id, so that it cannot be a later
// connection of the same addresses and ports.
func (r *Reader) releaseLocked(m *message) {
	if m.state != tcpClose || m.kind != updated && m.kind != listed || len(r.idle) == 0 {
		return
	}
	i, ok := r.table.slotOf(m)
	if !ok {
		return
	}
	if _, idle := r.idle[r.table.slots[i].id]; !idle {
		return
	}
	if err := unix.Sendto(r.release, deletion(m), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		r.log.Debug("remove a connection that was reset", "err", err)
		return
	}
	r.stats.Released++
	var answer [256]byte // there is one only if the connection has gone by itself
	for {
		if _, _, err := unix.Recvfrom(r.release, answer[:], unix.MSG_DONTWAIT); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// deletion is the request to remove the connection of a message.
func deletion(m *message) []byte {
	req := make([]byte, nlmsghdrLen+nfgenmsgLen, 128)
	req[nlmsghdrLen] = m.family
	req = binary.NativeEndian.AppendUint16(req, uint16(nlattrLen+len(m.orig)))
	req = binary.NativeEndian.AppendUint16(req, unix.NLA_F_NESTED|ctaTupleOrig)
	req = append(req, m.orig...)
	req = appendUint32Attr(req, ctaID, m.id)
	binary.NativeEndian.PutUint32(req, uint32(len(req)))
	binary.NativeEndian.PutUint16(req[4:], subsysCT<<8|msgCTDelete)
	binary.NativeEndian.PutUint16(req[6:], unix.NLM_F_REQUEST)
	return req
}

// sweepLocked brings the next resync forward for backends that have become
// idle, as far as resyncs may use that much of the time.
func (l *loop) sweepLocked() {
	l.sweep = false
	if l.resyncing() {
		l.again = true // part of the table has been passed
		return
	}
	next := l.ended.Add(resyncShare * l.stats.LastResync)
	if now := time.Now(); next.Before(now) {
		next = now
	}
	if l.due.After(next) {
		l.due = next
	}
}

// forgetIdleLocked drops the idle backends that are watched no more.
func (l *loop) forgetIdleLocked() {
	kept := map[core.BackendID]struct{}{}
	for _, id := range l.watched {
		if _, idle := l.idle[id]; idle {
			kept[id] = struct{}{}
		}
	}
	l.idle = kept
}
