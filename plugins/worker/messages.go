// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"fmt"
	"time"
)

// A Call is one snapshot for one loaded module.
type Call struct {
	Module   uint32
	Snapshot []byte
}

// A Result is what became of a Call. The bytes are good until the next
// exchange.
type Result struct {
	Answer []byte // the snapshot from its AnswerOffset on; nil if Err is set
	Err    string
	Took   time.Duration // in the worker
	Logs   []Line
}

// A Line is one line that a policy logged. Level is 0 debug to 3 error.
type Line struct {
	Level byte
	Text  string
}

// A Loaded is what became of a module.
type Loaded struct {
	Manifest []byte // nil if the module has none
	Err      string
	Logs     []Line
}

// maxLines bounds the log of one call in a frame.
const maxLines = 16

func appendLog(b []byte, lines []Line) []byte {
	lines = lines[:min(len(lines), maxLines)]
	b = append(b, byte(len(lines)))
	for _, l := range lines {
		b = append(b, l.Level)
		b = appendBytes(b, []byte(l.Text))
	}
	return b
}

func (r *reader) log() []Line {
	n := int(r.u8())
	if n == 0 {
		return nil
	}
	if n > maxLines {
		r.b, r.err = nil, fmt.Errorf("%w: %d log lines", errFrame, n)
		return nil
	}
	lines := make([]Line, n)
	for i := range lines {
		lines[i] = Line{r.u8(), string(r.bytes())}
	}
	return lines
}

func appendCalls(b []byte, calls []Call) []byte {
	b = le.AppendUint32(begin(b, typeCalls), uint32(len(calls)))
	for _, c := range calls {
		b = le.AppendUint32(b, c.Module)
		b = appendBytes(b, c.Snapshot)
	}
	return end(b)
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
			res.Err = string(payload)
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
		l.Err = string(payload)
	}
	return l, r.done()
}
