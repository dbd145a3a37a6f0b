// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

// The descriptors that a worker is born with, beside stderr.
const (
	fdConn     = 3
	fdProgress = 4
)

// Main is the whole life of a worker process. It returns the exit code: 0 when
// the parent hung up.
func Main() int { return run(func(how string) string { return how }) }

// run is Main; hello makes the first frame's text from the way of confinement.
func run(hello func(how string) string) int {
	conn := os.NewFile(fdConn, "parent")
	shared := os.NewFile(fdProgress, "progress")
	if conn == nil || shared == nil {
		fmt.Fprintln(os.Stderr, "steelyard worker is started by steelyard run, not by hand")
		return 2
	}
	p, err := mapProgress(shared)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	how, err := confine(settings())
	if err != nil {
		fmt.Fprintln(os.Stderr, "confine worker:", err)
		return 2
	}
	if _, err := conn.Write(end(append(begin(nil, typeHello), hello(how)...))); err != nil {
		return 1
	}
	s := server{rw: conn, progress: p}
	if err := s.serve(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// server is the worker's loop: one frame in, one frame out.
type server struct {
	rw       io.ReadWriter
	progress progress
	guest    guest // nil before the first load
	in, out  []byte
	answer   []byte
}

func (s *server) serve(ctx context.Context) error {
	for {
		kind, body, grown, err := readFrame(s.rw, s.in)
		s.in = grown
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read request: %w", err)
		}
		switch kind {
		case typeLoad:
			s.load(ctx, body)
		case typeInspect:
			err = s.inspect(body)
		case typeCalls:
			err = s.calls(ctx, &reader{b: body})
		default:
			err = fmt.Errorf("%w: type %d", errFrame, kind)
		}
		if err != nil {
			return err
		}
		if _, err := s.rw.Write(end(s.out)); err != nil {
			return fmt.Errorf("write answer: %w", err)
		}
	}
}

// load takes the worker's one module.
func (s *server) load(ctx context.Context, code []byte) {
	s.in = nil // the code is most of it, and the module keeps what it needs
	s.progress.set(0)
	g, err := loadGuest(ctx, code)
	s.progress.idle()
	s.out = begin(s.out, typeLoaded)
	if err != nil {
		s.out = append(s.out, statusError)
		s.out = appendLog(appendBytes(s.out, []byte(err.Error())), nil)
		return
	}
	s.guest = g
	status := byte(statusOK)
	if g.Manifest() == nil {
		status = statusNoManifest
	}
	s.out = append(s.out, status)
	s.out = appendLog(appendBytes(s.out, g.Manifest()), g.Logs())
	// The compiler's memory would count against the policy's cap.
	debug.FreeOSMemory()
}

// inspect describes a module without running any of it.
func (s *server) inspect(code []byte) error {
	s.progress.set(0)
	text, err := json.Marshal(wasm.Describe(code))
	s.progress.idle()
	s.in = nil
	s.out = append(begin(s.out, typeInspected), text...)
	return err
}

func (s *server) calls(ctx context.Context, r *reader) error {
	n := int(r.u32())
	s.out = le.AppendUint32(begin(s.out, typeResults), uint32(n))
	for i := range n {
		snapshot := r.bytes()
		if r.err != nil {
			return r.err
		}
		s.progress.set(i)
		s.call(ctx, snapshot)
	}
	s.progress.idle()
	return r.done()
}

func (s *server) call(ctx context.Context, snapshot []byte) {
	if s.guest == nil {
		s.result(statusError, 0, []byte("no module is loaded"), nil)
		return
	}
	start := time.Now()
	answer, err := s.guest.Call(ctx, s.answer[:0], snapshot)
	took := time.Since(start)
	s.answer = answer
	if err != nil {
		s.result(statusError, took, []byte(err.Error()), s.guest.Logs())
		return
	}
	s.result(statusOK, took, answer, s.guest.Logs())
}

func (s *server) result(status byte, took time.Duration, payload []byte, log []abi.Line) {
	s.out = append(s.out, status)
	s.out = le.AppendUint32(s.out, uint32(min(took, 1<<32-1)))
	s.out = appendLog(appendBytes(s.out, payload), log)
}
