// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

var le = binary.LittleEndian

// A frame is a u32 length of what follows, a u8 type and a body. The parent
// asks, the worker answers each request with one frame.
const (
	typeLoad      = 1 // code
	typeLoaded    = 2 // u8 status, u32 length, manifest or error, then the log
	typeCalls     = 3 // u32 count, then count × (u32 length, snapshot)
	typeResults   = 4 // u32 count, then count × (u8 status, u32 ns, u32 length, answer or error, log)
	typeInspect   = 5 // code
	typeInspected = 6 // what it is, as JSON
	typeHello     = 7 // sent by the worker once it is confined: a text that says how
)

// Status bytes of typeLoaded and typeResults.
const (
	statusOK         = 0
	statusError      = 1
	statusNoManifest = 2
)

// maxFrame bounds what is read into memory. A batch is cut far below it.
const maxFrame = 64 << 20

var errFrame = errors.New("damaged frame")

// frameLength checks the length in a frame's first four bytes.
func frameLength(head []byte) (int, error) {
	n := le.Uint32(head)
	if n < 1 || n > maxFrame {
		return 0, fmt.Errorf("%w: length %d", errFrame, n)
	}
	return int(n), nil
}

// begin starts a frame in b; end fills in its length.
func begin(b []byte, kind byte) []byte { return append(b[:0], 0, 0, 0, 0, kind) }

func end(b []byte) []byte {
	le.PutUint32(b, uint32(len(b)-4))
	return b
}

func appendBytes(b, p []byte) []byte {
	b = le.AppendUint32(b, uint32(len(p)))
	return append(b, p...)
}

// readFrame reads one frame into buf, which it grows, and returns type and
// body.
func readFrame(r io.Reader, buf []byte) (kind byte, body, grown []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, buf, err
	}
	n, err := frameLength(head[:])
	if err != nil {
		return 0, nil, buf, err
	}
	if cap(buf) < n {
		buf = make([]byte, n+n/4)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		return 0, nil, buf, err
	}
	return buf[0], buf[1:], buf, nil
}

// A reader takes a body apart. After the first short read all is zero and err
// is set.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.b, r.err = nil, errFrame
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) u8() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if p := r.take(4); p != nil {
		return le.Uint32(p)
	}
	return 0
}

func (r *reader) bytes() []byte { return r.take(int(r.u32())) }

// done is the error so far, or a complaint about bytes that are left.
func (r *reader) done() error {
	if r.err == nil && len(r.b) > 0 {
		return fmt.Errorf("%w: %d bytes too many", errFrame, len(r.b))
	}
	return r.err
}
