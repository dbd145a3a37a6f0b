// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

// The descriptors that a worker is born with, beside stderr.
const (
	fdConn     = 3
	fdProgress = 4
)

// Main is the whole life of a worker process. It returns the exit code: 0 when
// the parent hung up.
func Main() int {
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
	how, err := confine()
	if err != nil {
		fmt.Fprintln(os.Stderr, "confine worker:", err)
		return 2
	}
	if _, err := conn.Write(end(append(begin(nil, typeHello), how...))); err != nil {
		return 1
	}
	s := server{rw: conn, progress: p, modules: map[uint32]*wasm.Module{}}
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
	modules  map[uint32]*wasm.Module
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
		r := &reader{b: body}
		switch kind {
		case typeLoad:
			err = s.load(ctx, r)
		case typeUnload:
			err = s.unload(ctx, r)
		case typeCalls:
			err = s.calls(ctx, r)
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

func (s *server) load(ctx context.Context, r *reader) error {
	id := r.u32()
	if r.err != nil {
		return r.err
	}
	s.progress.set(0)
	m, err := wasm.Load(ctx, r.b)
	s.progress.idle()
	s.out = begin(s.out, typeLoaded)
	if err != nil {
		s.out = append(s.out, statusError)
		s.out = appendLog(appendBytes(s.out, []byte(err.Error())), nil)
		return nil
	}
	s.modules[id] = m
	status := byte(statusOK)
	if m.Manifest() == nil {
		status = statusNoManifest
	}
	s.out = append(s.out, status)
	s.out = appendLog(appendBytes(s.out, m.Manifest()), lines(m))
	// The compiler's memory would count against the policies' cap.
	debug.FreeOSMemory()
	return nil
}

func (s *server) unload(ctx context.Context, r *reader) error {
	id := r.u32()
	if m := s.modules[id]; m != nil {
		delete(s.modules, id)
		_ = m.Close(ctx) // it only frees memory
	}
	s.out = appendLog(appendBytes(append(begin(s.out, typeLoaded), statusNoManifest), nil), nil)
	return r.err
}

func (s *server) calls(ctx context.Context, r *reader) error {
	n := int(r.u32())
	s.out = le.AppendUint32(begin(s.out, typeResults), uint32(n))
	for i := range n {
		id, snapshot := r.u32(), r.bytes()
		if r.err != nil {
			return r.err
		}
		s.progress.set(i)
		s.call(ctx, s.modules[id], snapshot)
	}
	s.progress.idle()
	return r.done()
}

func (s *server) call(ctx context.Context, m *wasm.Module, snapshot []byte) {
	if m == nil {
		s.result(statusError, 0, []byte("the module is not loaded"), nil)
		return
	}
	start := time.Now()
	answer, err := m.Call(ctx, s.answer[:0], snapshot)
	took := time.Since(start)
	s.answer = answer
	if err != nil {
		s.result(statusError, took, []byte(err.Error()), lines(m))
		return
	}
	s.result(statusOK, took, answer, lines(m))
}

func (s *server) result(status byte, took time.Duration, payload []byte, log []Line) {
	s.out = append(s.out, status)
	s.out = le.AppendUint32(s.out, uint32(min(took, 1<<32-1)))
	s.out = appendLog(appendBytes(s.out, payload), log)
}

func lines(m *wasm.Module) []Line {
	logs := m.Logs()
	if len(logs) == 0 {
		return nil
	}
	out := make([]Line, len(logs))
	for i, l := range logs {
		out[i] = Line{byte(l.Level), l.Text}
	}
	return out
}
