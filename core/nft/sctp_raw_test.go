// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netns"
)

// sctpRaw is as much of SCTP (RFC 9260) as one message takes, on a raw socket:
// INIT and INIT ACK, COOKIE ECHO and COOKIE ACK, DATA and SACK, and the three of a
// shutdown. What a kernel's stack checks of a packet it checks, too: the checksum,
// which NAT has to mend, and the verification tag. It sends nothing twice.
type sctpRaw struct{}

const (
	sctpData             = 0
	sctpInit             = 1
	sctpInitAck          = 2
	sctpSack             = 3
	sctpShutdown         = 7
	sctpShutdownAck      = 8
	sctpCookieEcho       = 10
	sctpCookieAck        = 11
	sctpShutdownComplete = 14

	sctpWhole  = 3 // flags of DATA: the first and the last of a message
	sctpHeader = 12
	sctpCookie = 7 // parameter of INIT ACK
)

// An sctpPacket has one chunk.
type sctpPacket struct {
	from, to uint16
	tag      uint32 // of who gets it
	chunk    byte
	flags    byte
	value    []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (p sctpPacket) encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, p.from)
	b = binary.BigEndian.AppendUint16(b, p.to)
	b = binary.BigEndian.AppendUint32(b, p.tag)
	b = append(b, 0, 0, 0, 0, p.chunk, p.flags)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(p.value)))
	b = append(b, p.value...)
	b = append(b, make([]byte, (4-len(b)%4)%4)...)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli))
	return b
}

func parseSCTP(b []byte) (p sctpPacket, err error) {
	if len(b) < sctpHeader+4 {
		return p, fmt.Errorf("an SCTP packet of %d bytes", len(b))
	}
	sum := binary.LittleEndian.Uint32(b[8:])
	clear(b[8:sctpHeader])
	if want := crc32.Checksum(b, castagnoli); sum != want {
		return p, fmt.Errorf("checksum %#x: want %#x", sum, want)
	}
	chunk := b[sctpHeader:]
	n := int(binary.BigEndian.Uint16(chunk[2:]))
	if n < 4 || n > len(chunk) {
		return p, fmt.Errorf("a chunk of %d bytes in %d", n, len(chunk))
	}
	return sctpPacket{binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:]), chunk[0], chunk[1], chunk[4:n]}, nil
}

// words are the 32-bit words that most chunks consist of.
func words(list ...uint32) (b []byte) {
	for _, w := range list {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

// An sctpEnd is a raw socket that sees all SCTP of an address, and the port in it
// that is ours.
type sctpEnd struct {
	net.PacketConn
	port uint16
	tag  uint32 // ours
}

func openSCTP(at netip.AddrPort, tag uint32) (*sctpEnd, error) {
	network := "ip4:132"
	if at.Addr().Is6() {
		network = "ip6:132"
	}
	c, err := net.ListenPacket(network, at.Addr().String())
	return &sctpEnd{c, at.Port(), tag}, err
}

func (e *sctpEnd) put(to net.Addr, p sctpPacket) error {
	p.from = e.port
	_, err := e.WriteTo(p.encode(), to)
	return err
}

// next is the next packet for the port. All but INIT must have our tag.
func (e *sctpEnd) next() (p sctpPacket, from net.Addr, err error) {
	b := make([]byte, 512)
	for {
		n, from, err := e.ReadFrom(b)
		if err != nil {
			return p, nil, err
		}
		p, err := parseSCTP(b[:n])
		if err != nil {
			return p, from, err
		}
		if p.to != e.port {
			continue // of another end
		}
		if want := e.tag; p.chunk != sctpInit && p.tag != want {
			return p, from, fmt.Errorf("chunk %d has tag %#x: want %#x", p.chunk, p.tag, want)
		}
		return p, from, nil
	}
}

// tsn is the number of the one DATA chunk that a server sends.
const tsn = 1000

func (sctpRaw) serve(w *world, ns netns.NsHandle, name, addr string) {
	var e *sctpEnd
	w.in(ns, func() {
		var err error
		e, err = openSCTP(netip.MustParseAddrPort(addr), 0x5ee1)
		w.must(err)
	})
	w.t.Cleanup(func() { e.Close() })
	go func() {
		peers := map[string]uint32{} // their tags
		for {
			p, from, err := e.next()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				w.t.Errorf("%s at %s, from %v: %v", name, addr, from, err)
				return
			}
			key := fmt.Sprint(from, p.from)
			if err := e.serve(p, from, key, name, peers); err != nil && !errors.Is(err, net.ErrClosed) {
				w.t.Errorf("%s at %s, to %v: %v", name, addr, from, err)
			}
		}
	}()
}

// serve answers one packet.
func (e *sctpEnd) serve(p sctpPacket, from net.Addr, key, name string, peers map[string]uint32) error {
	put := func(tag uint32, chunk, flags byte, value []byte) error {
		return e.put(from, sctpPacket{to: p.from, tag: tag, chunk: chunk, flags: flags, value: value})
	}
	switch p.chunk {
	case sctpInit:
		tag := binary.BigEndian.Uint32(p.value)
		// The cookie is the client's tag: a server keeps nothing before it has it back.
		return put(tag, sctpInitAck, 0, words(e.tag, 65536, 1<<16|1, tsn, sctpCookie<<16|8, tag))
	case sctpCookieEcho:
		peers[key] = binary.BigEndian.Uint32(p.value)
		answer := append(words(tsn, 0, 0), name+" "+from.String()...)
		return errors.Join(put(peers[key], sctpCookieAck, 0, nil), put(peers[key], sctpData, sctpWhole, answer))
	case sctpShutdown:
		return put(peers[key], sctpShutdownAck, 0, nil)
	case sctpShutdownComplete:
		delete(peers, key)
	}
	return nil
}

func (sctpRaw) ask(from netip.Addr, to netip.AddrPort) (answer string, err error) {
	port := sctpPort()
	tag := 1<<16 | uint32(port)
	e, err := openSCTP(netip.AddrPortFrom(from, port), tag)
	if err != nil {
		return "", err
	}
	defer e.Close()
	if err := e.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	peer := &net.IPAddr{IP: to.Addr().AsSlice()}
	var peerTag uint32
	put := func(chunk byte, value []byte) {
		err = errors.Join(err, e.put(peer, sctpPacket{to: to.Port(), tag: peerTag, chunk: chunk, value: value}))
	}
	// want takes the next packet, which has to be this one of the peer.
	want := func(chunk byte, least int) (value []byte) {
		p, from, nextErr := e.next()
		switch {
		case nextErr != nil:
			err = errors.Join(err, fmt.Errorf("waiting for chunk %d: %w", chunk, nextErr))
		case from.String() != peer.String() || p.from != to.Port() || p.chunk != chunk || len(p.value) < least:
			err = errors.Join(err, fmt.Errorf("chunk %d of %d bytes from %v port %d: want %d of %v", p.chunk, len(p.value), from, p.from, chunk, to))
		}
		if err != nil {
			return make([]byte, least)
		}
		return p.value
	}
	put(sctpInit, words(tag, 65536, 1<<16|1, 1))
	ack := want(sctpInitAck, 24)
	peerTag = binary.BigEndian.Uint32(ack)
	put(sctpCookieEcho, ack[20:])
	want(sctpCookieAck, 0)
	answer = string(want(sctpData, 12)[12:])
	put(sctpSack, words(tsn, 65536, 0))
	put(sctpShutdown, words(tsn))
	want(sctpShutdownAck, 0)
	put(sctpShutdownComplete, nil)
	return answer, err
}
