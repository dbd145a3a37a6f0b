// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"fmt"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// A Batch is the calls of one exchange, in the form in which they are sent. It is
// made to be used again: its memory stays.
type Batch struct {
	frame []byte
	n     int
}

// The bytes of a batch before its first call, and of a call before its snapshot.
const (
	batchHead = 9
	callHead  = 4
)

// Reset forgets the calls.
func (b *Batch) Reset() {
	b.frame = le.AppendUint32(begin(b.frame, typeCalls), 0)
	b.n = 0
}

// Len is the number of calls, Size that of their bytes.
func (b *Batch) Len() int  { return b.n }
func (b *Batch) Size() int { return len(b.frame) }

// Room is where the snapshot of the next call should be written: Add then need
// not copy it.
func (b *Batch) Room() []byte {
	if at := len(b.frame) + callHead; at < cap(b.frame) {
		return b.frame[at:at:cap(b.frame)]
	}
	return nil
}

// Add appends a call. The first one needs a Reset before it.
func (b *Batch) Add(snapshot []byte) {
	room := b.Room()
	b.frame = le.AppendUint32(b.frame, uint32(len(snapshot)))
	if len(snapshot) > 0 && cap(room) >= len(snapshot) && &room[:1][0] == &snapshot[0] {
		b.frame = b.frame[:len(b.frame)+len(snapshot)]
	} else {
		b.frame = append(b.frame, snapshot...)
	}
	b.n++
}

// done is the whole frame.
func (b *Batch) done() []byte {
	le.PutUint32(b.frame[batchHead-4:], uint32(b.n))
	return end(b.frame)
}

// A Result is what became of a call. The bytes are good until the next exchange.
type Result struct {
	Answer []byte // the snapshot from its AnswerOffset on; nil if Err is set
	Err    string
	Took   time.Duration // in the worker
	Logs   []abi.Line
}

// A Loaded is what became of a module.
type Loaded struct {
	Manifest []byte // nil if the module has none
	Err      string
	Logs     []abi.Line
}

// maxLines bounds the log of one call in a frame.
const maxLines = 16

func appendLog(b []byte, lines []abi.Line) []byte {
	lines = lines[:min(len(lines), maxLines)]
	b = append(b, byte(len(lines)))
	for _, l := range lines {
		b = append(b, byte(l.Level))
		b = le.AppendUint32(b, uint32(len(l.Text)))
		b = append(b, l.Text...)
	}
	return b
}

// maxText is how much is taken of a text for people, bytes. It goes into the log,
// into events and over the bus.
const maxText = 4 << 10

// text is what a worker says to people, cut off where nobody would read on.
func text(b []byte) string {
	if len(b) <= maxText {
		return string(b)
	}
	return strings.ToValidUTF8(string(b[:maxText]), "") + "…"
}

func (r *reader) text() string { return text(r.bytes()) }

func (r *reader) log() []abi.Line {
	n := int(r.u8())
	if n == 0 {
		return nil
	}
	if n > maxLines {
		r.b, r.err = nil, fmt.Errorf("%w: %d log lines", errFrame, n)
		return nil
	}
	lines := make([]abi.Line, n)
	for i := range lines {
		lines[i] = abi.Line{Level: uint32(r.u8()), Text: r.text()}
	}
	return lines
}

// decodeResults reads the answer to a batch of n calls. It comes from a process
// that may have been taken over, so nothing in it is believed.
func decodeResults(dst []Result, body []byte, n int) ([]Result, error) {
	r := &reader{b: body}
	if got := r.u32(); got != uint32(n) {
		return nil, fmt.Errorf("%w: %d results for %d calls", errFrame, got, n)
	}
	for range n {
		status, took, payload := r.u8(), r.u32(), r.bytes()
		res := Result{Took: time.Duration(took), Logs: r.log()}
		if status == statusOK {
			res.Answer = payload
		} else {
			res.Err = text(payload)
		}
		dst = append(dst, res)
	}
	return dst, r.done()
}

func decodeLoaded(body []byte) (Loaded, error) {
	r := &reader{b: body}
	status, payload := r.u8(), r.bytes()
	l := Loaded{Logs: r.log()}
	switch status {
	case statusOK:
		l.Manifest = append([]byte{}, payload...)
	case statusNoManifest:
	default:
		l.Err = text(payload)
	}
	return l, r.done()
}
