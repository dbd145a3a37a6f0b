// SPDX-License-Identifier: Apache-2.0

package neigh

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// A kernel is what a Table asks of its network namespace. listen and stop may
// be called while one of the others runs.
type kernel interface {
	// listen waits for events. errLost says that some were dropped; after stop
	// it returns an error at once.
	listen() ([]message, error)
	stop()
	// dump lists what there is: all links or all neighbours.
	dump(what kind) ([]message, error)
	// routes answers for each address, in their order.
	routes(addrs []netip.Addr) ([]answer, error)
	// solicit has each of them asked for, and returns what the kernel refused,
	// in their order; 0 is success.
	solicit(asks []ask) ([]unix.Errno, error)
	close() error
}

// An answer is how to get to an address, or why not.
type answer struct {
	route route
	errno unix.Errno
}

// A rtnetlink is the kernel of one network namespace.
type rtnetlink struct {
	events   *connection
	requests *connection
}

func openKernel() (*rtnetlink, error) {
	events, err := dial(groups, eventBuffer)
	if err != nil {
		return nil, err
	}
	requests, err := dial(0, requestBuffer)
	if err != nil {
		return nil, errors.Join(err, events.conn.Close())
	}
	return &rtnetlink{events, requests}, nil
}

func (k *rtnetlink) close() error {
	return errors.Join(k.events.conn.Close(), k.requests.conn.Close())
}

func (k *rtnetlink) stop() { _ = k.events.conn.SetReadDeadline(time.Unix(1, 0)) }

func (k *rtnetlink) listen() ([]message, error) {
	in, err := k.events.receive(true)
	if errors.Is(err, unix.ENOBUFS) {
		return nil, errLost
	}
	if err != nil {
		return nil, fmt.Errorf("read neighbour events: %w", err)
	}
	var list []message
	for rest := in; len(rest) > 0; {
		m, more, ok := next(rest)
		if !ok {
			return list, errLost
		}
		if m.kind != other {
			list = append(list, m)
		}
		rest = more
	}
	return list, nil
}

func (k *rtnetlink) dump(what kind) ([]message, error) {
	typ, name := uint16(unix.RTM_GETNEIGH), "neighbour table"
	if what == aboutLink {
		typ, name = unix.RTM_GETLINK, "links"
	}
	c := k.requests
	for range dumpTries {
		var list []message
		var failure error
		ended, interrupted := false, false
		first := c.seq
		c.out = appendDump(c.out[:0], typ, first)
		c.seq++
		err := c.request(first, func(m *message) {
			interrupted = interrupted || m.interrupted
			switch m.kind {
			case what:
				list = append(list, *m)
			case done:
				ended = true
			case failed:
				failure = m.errno
			}
		})
		if err = errors.Join(err, failure); err == nil && !ended {
			err = errors.New("the answer has no end")
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if !interrupted {
			return list, nil
		}
	}
	return nil, fmt.Errorf("read %s: it changed during each of %d tries", name, dumpTries)
}

func (k *rtnetlink) routes(addrs []netip.Addr) ([]answer, error) {
	answers := make([]answer, len(addrs))
	err := k.batches(len(addrs),
		func(b []byte, i int, seq uint32) []byte { return appendGetRoute(b, addrs[i], seq) },
		func(i int, m *message) {
			switch m.kind {
			case aboutRoute:
				answers[i] = answer{route: m.route}
			case failed:
				answers[i] = answer{errno: m.errno}
			}
		})
	if err != nil {
		return nil, fmt.Errorf("ask for routes: %w", err)
	}
	return answers, nil
}

func (k *rtnetlink) solicit(asks []ask) ([]unix.Errno, error) {
	refused := make([]unix.Errno, len(asks))
	err := k.batches(len(asks),
		func(b []byte, i int, seq uint32) []byte { return appendAsk(b, asks[i], seq) },
		func(i int, m *message) {
			if m.kind == failed {
				refused[i] = m.errno
			}
		})
	if err != nil {
		return nil, fmt.Errorf("solicit neighbours: %w", err)
	}
	return refused, nil
}

// batches sends n requests, requestBatch of them in one datagram.
func (k *rtnetlink) batches(n int, write func(b []byte, i int, seq uint32) []byte, each func(i int, m *message)) error {
	c := k.requests
	for done := 0; done < n; {
		first, from := c.seq, done
		c.out = c.out[:0]
		for ; done < n && done-from < requestBatch; done++ {
			c.out = write(c.out, done, c.seq)
			c.seq++
		}
		if err := c.request(first, func(m *message) { each(from+int(m.seq-first), m) }); err != nil {
			return err
		}
	}
	return nil
}
