// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pings are the sockets of all ping probes of this process: a raw socket sees every
// reply that comes to the machine, so with one each, a thousand probes would read each
// reply a thousand times.
var pings pingHub

// A pingHub shares sockets: one for each address family and way, and more of them for
// more runs than maxPingUsers. A socket and its reader are there while somebody uses
// it, and gone with the last.
//
// A socket stays with the device and the namespace that had the names when it was
// opened. So none is given out for longer than maxPingSocketAge: with thousands of
// probes there is always somebody who uses it.
type pingHub struct {
	mu      sync.Mutex
	sockets map[pingKey]*pingSocket // guarded by mu
}

const (
	maxPingSocketAge = 10 * time.Second
	// maxPingUsers is how many runs share a socket, which has 65,536 sequence numbers.
	maxPingUsers = 4096
)

type pingKey struct {
	way way
	v6  bool
}

// A pingSocket is a socket with its reader and the requests that wait for a reply.
type pingSocket struct {
	*icmpSocket
	key    pingKey
	born   time.Time
	users  int           // guarded by pingHub.mu
	opened chan struct{} // closed when icmpSocket or failed is set
	failed error         // why it could not be opened
	ended  chan struct{} // closed when the reader is gone

	mu      sync.Mutex
	next    uint16                 // guarded by mu; sequence number
	pending map[uint16]pingRequest // guarded by mu; by sequence number
}

// A pingRequest is one that was sent.
type pingRequest struct {
	run *pingRun
	n   int // of its run, from 0
	at  time.Time
}

// acquire returns the socket for an address family and way. To open it takes a
// moment, in which others who want the same one wait for it, and those who want
// another one do not.
func (h *pingHub) acquire(key pingKey) (*pingSocket, error) {
	h.mu.Lock()
	s := h.sockets[key]
	if s == nil || s.users == maxPingUsers || time.Since(s.born) > maxPingSocketAge {
		s = &pingSocket{key: key, born: time.Now(), opened: make(chan struct{}), ended: make(chan struct{}), pending: map[uint16]pingRequest{}}
		if h.sockets == nil {
			h.sockets = map[pingKey]*pingSocket{}
		}
		h.sockets[key] = s
		s.users++
		h.mu.Unlock()
		s.open()
	} else {
		s.users++
		h.mu.Unlock()
		<-s.opened
	}
	if s.failed != nil {
		h.release(s)
		return nil, s.failed
	}
	return s, nil
}

func (s *pingSocket) open() {
	defer close(s.opened)
	s.icmpSocket, s.failed = openICMP(s.key.way, s.key.v6)
	s.next = uint16(rand.Uint32())
	if s.failed != nil {
		close(s.ended)
		return
	}
	go func() {
		defer close(s.ended)
		s.receive(s.take)
	}()
}

// release gives the socket back. The last one closes it, and returns when its reader
// is gone.
func (h *pingHub) release(s *pingSocket) {
	h.mu.Lock()
	s.users--
	last := s.users == 0
	if h.sockets[s.key] == s && last {
		delete(h.sockets, s.key)
	}
	h.mu.Unlock()
	if last && s.failed == nil {
		_ = s.file.Close() // nobody would do anything about it
		<-s.ended
	}
}

// A pingRun is one round of requests to one address.
type pingRun struct {
	to     netip.Addr // without a zone
	cookie uint64
	over   chan struct{} // holds 1: there is something new
	traced bool          // somebody watches

	// What follows is guarded by the socket's mu.

	seqs    []uint16      // of the requests
	open    int           // requests that wait
	replies int           // requests that were answered
	sum     time.Duration // of their times
	refused int           // requests that came back with an error
	why     echo          // the first of them
	who     netip.Addr    // who reported it
	seen    []pingAnswer  // only if traced
}

// A pingAnswer is what came of one request.
type pingAnswer struct {
	n    int
	took time.Duration
	echo echo
	from netip.Addr
}

// errNoSequence says that all sequence numbers wait for replies.
var errNoSequence = errors.New("65536 requests wait for replies")

// begin notes a request of a run that is about to be sent, and returns its sequence
// number.
func (s *pingSocket) begin(r *pingRun) (uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) > 0xffff {
		return 0, errNoSequence
	}
	for {
		s.next++
		if _, taken := s.pending[s.next]; !taken {
			break
		}
	}
	s.pending[s.next] = pingRequest{run: r, n: len(r.seqs), at: time.Now()}
	r.seqs = append(r.seqs, s.next)
	r.open++
	return s.next, nil
}

// restart sets the time of a request that is sent once more.
func (s *pingSocket) restart(seq uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q, waits := s.pending[seq]; waits {
		q.at = time.Now()
		s.pending[seq] = q
	}
}

// drop takes back the last request of a run, which was not sent.
func (s *pingSocket) drop(r *pingRun) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(r.seqs) - 1
	delete(s.pending, r.seqs[last])
	r.seqs = r.seqs[:last]
	r.open--
}

// end forgets the requests of a run that wait still.
func (s *pingSocket) end(r *pingRun) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seq := range r.seqs {
		if q, ok := s.pending[seq]; ok && q.run == r {
			delete(s.pending, seq)
		}
	}
}

// waits is how many requests of a run wait.
func (s *pingSocket) waits(r *pingRun) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.open
}

// take gives messages to the runs that they are for.
func (s *pingSocket) take(list []received) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range list {
		s.takeLocked(&list[i], now)
	}
}

// takeLocked gives one message to the run that it is for. What does not fit in every
// particular is not for us: others may send us what they like.
func (s *pingSocket) takeLocked(m *received, now time.Time) {
	q, ok := s.pending[m.echo.seq]
	r := q.run
	switch {
	case !ok: // a duplicate, or too late
		return
	case m.echo.known && m.echo.cookie != r.cookie,
		m.echo.replied && m.from != r.to,
		!m.echo.replied && m.echo.to != r.to:
		return
	}
	delete(s.pending, m.echo.seq)
	r.open--
	took := max(time.Microsecond, now.Sub(q.at)-m.age)
	if r.traced {
		r.seen = append(r.seen, pingAnswer{n: q.n, took: took, echo: m.echo, from: m.from})
	}
	if m.echo.replied {
		r.replies++
		r.sum += took
	} else if r.refused++; r.refused == 1 {
		r.why, r.who = m.echo, m.from
	}
	select {
	case r.over <- struct{}{}:
	default: // it has not looked yet, and will see this as well
	}
}

// sockaddr is an address as the kernel wants it.
func sockaddr(a netip.Addr) (unix.Sockaddr, error) {
	if a.Unmap().Is4() {
		return &unix.SockaddrInet4{Addr: a.Unmap().As4()}, nil
	}
	zone, err := zoneOf(a)
	return &unix.SockaddrInet6{Addr: a.As16(), ZoneId: zone}, err
}

// zoneOf is the number of an address's zone; 0 if it has none.
func zoneOf(a netip.Addr) (uint32, error) {
	if a.Zone() == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(a.Zone(), 10, 32); err == nil {
		return uint32(n), nil
	}
	i, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return 0, fmt.Errorf("zone of %s: %w", a, cause(err))
	}
	return uint32(i.Index), nil
}
