// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// Create makes entries in the kernel's table, in batches; n is how many.
func (r *Reader) Create(n int, entry func(i int) (p core.Protocol, client, vip, backend netip.AddrPort)) error {
	fd, err := r.ns.socket()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var batch []byte
	for i := range n {
		p, client, vip, backend := entry(i)
		batch = append(batch, creation(p.Number(), client, vip, backend, 600)...)
		for len(batch)%4 != 0 {
			batch = append(batch, 0)
		}
		if i%100 < 99 && i < n-1 {
			continue
		}
		if err := send(fd, batch); err != nil {
			return err
		}
		batch = batch[:0]
		if err := firstError(fd); err != nil {
			return err
		}
	}
	return nil
}

func firstError(fd int) error {
	var first error
	var buf [64 << 10]byte
	for {
		n, err := receiveDump(fd, buf[:])
		if err != nil {
			return first
		}
		for part := buf[:n]; len(part) > 0; {
			m, rest, ok := next(part)
			if ok && m.kind == failed && m.errno != 0 && first == nil {
				first = m.errno
			}
			part = rest
		}
	}
}

// Entries counts what is in the kernel's table with a rewritten destination.
func (r *Reader) Entries(ctx context.Context) (n int, err error) {
	err = r.ns.list(ctx, filter{}, func(*message) bool { n++; return true })
	return n, err
}

// TCPStates counts those of TCP by their state.
func (r *Reader) TCPStates(ctx context.Context) (map[string]int, error) {
	states := map[string]int{}
	err := r.ns.list(ctx, filter{}, func(m *message) bool {
		if m.states == ctaTCP {
			states[m.stateName()]++
		}
		return true
	})
	return states, err
}

// Listen has the events come, to be read by a later Run.
func (r *Reader) Listen() error { return join(r.events) }

// RemoveAll removes those entries.
func (r *Reader) RemoveAll(ctx context.Context) error {
	return r.RemoveLate(ctx, func() error { return nil })
}

// RemoveLate is RemoveAll, with something that comes to pass after they were listed.
func (r *Reader) RemoveLate(ctx context.Context, meanwhile func() error) error {
	fd, err := r.ns.socket()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	rm := remover{fd: fd}
	if err := r.ns.list(ctx, filter{}, func(m *message) bool { rm.add(m); return true }); err != nil {
		return err
	}
	err = meanwhile()
	rm.flush()
	return err
}

// Sample follows one connection in 1<<shift, as of now.
func (r *Reader) Sample(shift uint8) error {
	r.tableMu.Lock()
	defer r.tableMu.Unlock()
	s := sift{shift}
	r.table.setSift(s)
	return s.attach(r.events, r.table.index.answers)
}
