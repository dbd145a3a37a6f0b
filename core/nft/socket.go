// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

const (
	// A transaction is one datagram, and must fit the send buffer whole. The
	// kernel takes the memory only when it is needed.
	sendBuffer = 64 << 20
	// The answers to a transaction all wait in the receive buffer at once.
	receiveBuffer = 32 << 20
	// readSize is the size of a read. The kernel fills 32 KiB of it at most, but
	// makes its portions of a dump that large only for a reader who has room.
	readSize = 64 << 10
	// dumpTries is how often a dump is begun because the ruleset, anybody's part
	// of it, changed under the one before.
	dumpTries = 20
)

// errChanging ends a dump of which no try went without a change. What the last
// one gave may lack elements that came or went during it, and no others.
var errChanging = errors.New("the ruleset changed during every try to read it")

// A socket is one lasting netlink connection to nf_tables. It is not safe for
// concurrent use. The file descriptor is read and written directly: a
// transaction's answers have to be told apart by sequence number, which the
// connection's own Receive stops at the first error of.
type socket struct {
	conn *netlink.Conn
	raw  syscall.RawConn
	port uint32 // by which the kernel knows the owner of a table
	seq  uint32 // of the next message
	in   []byte
	// tries is how often a dump is begun.
	tries int
	req   batch // for requests that are no transaction
	// hasty gives a dump up as soon as its reader has an error; left is the one that
	// was given up, 0 for none: its rest has to be drained before another is asked for.
	hasty bool
	left  uint32
}

// openSocket opens a socket in the network namespace of the calling thread.
func openSocket() (*socket, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	s := &socket{conn: conn, port: conn.PID(), seq: 1, in: make([]byte, readSize), tries: dumpTries}
	if s.raw, err = conn.SyscallConn(); err == nil {
		err = s.configure()
	}
	if err != nil {
		_ = conn.Close() // it was never used
		return nil, fmt.Errorf("configure netlink socket: %w", err)
	}
	return s, nil
}

func (s *socket) configure() error {
	// Both try the FORCE variant first, which is not bound by net.core.*mem_max
	// but wants CAP_NET_ADMIN outside of user namespaces.
	if err := s.conn.SetWriteBuffer(sendBuffer); err != nil {
		return err
	}
	if err := s.conn.SetReadBuffer(receiveBuffer); err != nil {
		return err
	}
	// CapAcknowledge keeps the kernel from sending each failed message back.
	if err := s.conn.SetOption(netlink.CapAcknowledge, true); err != nil {
		return err
	}
	return s.conn.SetOption(netlink.ExtendedAcknowledge, true)
}

func (s *socket) close() error { return s.conn.Close() }

// A msgError is the kernel's complaint about one message.
type msgError struct {
	seq   uint32
	errno unix.Errno
	text  string // the kernel's own words, where it has some
}

// transact sends a finished batch and collects the complaints. None means that
// it was committed. An error means that nobody knows.
func (s *socket) transact(b *batch) ([]msgError, error) {
	s.seq = b.next()
	if err := s.send(b.buf); err != nil {
		return nil, err
	}
	var list []msgError
	for {
		// The kernel works on a batch within the send: all answers are here.
		in, err := s.receive(false)
		if errors.Is(err, unix.EAGAIN) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		m := nlmsg.Messages{Rest: in}
		for m.Next() {
			if m.Type != unix.NLMSG_ERROR {
				continue
			}
			if e := nlmsg.Errno(m.Body); e != 0 {
				list = append(list, msgError{m.Seq, e, nlmsg.ErrorText(m.Body, m.Flags)})
			}
		}
	}
}

// request begins a request that is no transaction; the caller adds attributes
// to it and hands it to answer.
func (s *socket) request(msg, flags int) *batch {
	b := &s.req
	b.buf, b.owners, b.first = b.buf[:0], b.owners[:0], s.seq
	b.nft(msg, flags)
	return b
}

// answer sends the request and calls each for the body of every message that
// answers it. A dump that the ruleset changed under is begun again, after a
// call of restart.
func (s *socket) answer(b *batch, restart func(), each func(body []byte) error) error {
	b.end()
	s.seq = b.next()
	dump := binary.NativeEndian.Uint16(b.buf[6:])&unix.NLM_F_DUMP == unix.NLM_F_DUMP
	for range s.tries {
		restart()
		binary.NativeEndian.PutUint32(b.buf[8:], s.seq)
		s.seq++
		if err := s.send(b.buf); err != nil {
			return err
		}
		interrupted, err := s.collect(s.seq-1, dump, each)
		if err == nil && !interrupted {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return errChanging
}

// collect reads the answer to the request of that sequence number to its end.
func (s *socket) collect(seq uint32, dump bool, each func(body []byte) error) (interrupted bool, err error) {
	for {
		in, rerr := s.receive(true)
		if rerr != nil {
			return interrupted, rerr
		}
		m := nlmsg.Messages{Rest: in}
		for m.Next() {
			if m.Seq != seq {
				continue // the rest of an answer that was given up
			}
			interrupted = interrupted || m.Flags&unix.NLM_F_DUMP_INTR != 0
			if m.Type == unix.NLMSG_ERROR || m.Type == unix.NLMSG_DONE {
				if e := nlmsg.Errno(m.Body); e != 0 {
					return interrupted, e
				}
				return interrupted, err
			}
			if err == nil && len(m.Body) >= nlmsg.NfgenmsgLen {
				err = each(m.Body[nlmsg.NfgenmsgLen:])
			}
			if !dump {
				return false, err
			}
		}
		if s.hasty && err != nil {
			s.left = seq
			return interrupted, err
		}
	}
}

// drain reads the rest of a dump that was given up, until ctx is done.
func (s *socket) drain(ctx context.Context) error {
	for s.left != 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		in, err := s.receive(true)
		if err != nil {
			return err
		}
		m := nlmsg.Messages{Rest: in}
		for m.Next() {
			if m.Seq == s.left && (m.Type == unix.NLMSG_ERROR || m.Type == unix.NLMSG_DONE) {
				s.left = 0
			}
		}
	}
	return nil
}

func (s *socket) send(b []byte) error {
	var err error
	werr := s.raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(err, unix.EAGAIN)
	})
	if err := errors.Join(werr, err); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// receive reads one datagram. Without wait it returns EAGAIN if there is none.
// The bytes are valid until the next call.
func (s *socket) receive(wait bool) ([]byte, error) {
	var n int
	var err error
	rerr := s.raw.Read(func(fd uintptr) bool {
		for {
			n, _, err = unix.Recvfrom(int(fd), s.in, 0)
			if !errors.Is(err, unix.EINTR) {
				return !wait || !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if err := errors.Join(rerr, err); err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	return s.in[:n], nil
}
