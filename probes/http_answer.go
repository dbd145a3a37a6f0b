// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync"

	"github.com/steelyard-lb/steelyard/core"
)

// Limits on what a backend can make us read in one run.
const (
	maxHeader   = 64 << 10
	defaultBody = 64 << 10
	maxBody     = 16 << 20 // that a spec may ask for
)

// maxInterim is how many 1xx answers may come before the real one.
const maxInterim = 8

// keptBody is the largest buffer that is kept for the next run of some probe.
const keptBody = 128 << 10

// bodies are buffers of answers: between two runs a prober holds none.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

func keepBody(buf *[]byte) {
	if cap(*buf) <= keptBody {
		*buf = (*buf)[:0]
		bodies.Put(buf)
	}
}

// An httpReader reads the answers of HTTP/1.1, with a limit on their headers.
type httpReader struct {
	limited io.LimitedReader
	in      *bufio.Reader
}

var readers = sync.Pool{New: func() any { return &httpReader{in: bufio.NewReader(nil)} }}

func (r *httpReader) from(conn io.Reader) {
	r.limited = io.LimitedReader{R: conn, N: maxHeader}
	r.in.Reset(&r.limited)
}

func (r *httpReader) keep() {
	r.limited.R = nil
	readers.Put(r)
}

// ask1 speaks HTTP/1.1. The answer's body is still to be read.
func (x *httpRun) ask1(p *httpProbe, r *httpReader) (*http.Response, error) {
	request := p.plan.before + p.plan.hostFor(p.addr) + p.plan.after
	if _, err := io.WriteString(x.conn, request); err != nil {
		return nil, err
	}
	x.missing = "no answer came"
	r.from(x.conn)
	if _, err := r.in.Peek(1); err != nil {
		return nil, err
	}
	x.done(core.MetricTTFB)
	x.missing = "no whole header came"
	resp, err := readFinal(r.in, p.plan.req)
	if err != nil {
		return nil, err
	}
	r.limited.N = math.MaxInt64 // the body has a limit of its own
	return resp, nil
}

// readFinal skips interim answers such as 103 Early Hints.
func readFinal(in *bufio.Reader, req *http.Request) (*http.Response, error) {
	for range maxInterim {
		resp, err := http.ReadResponse(in, req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, fmt.Errorf("more than %d interim answers", maxInterim)
}

// read takes the body into buf, up to most bytes.
func (a *answer) read(body io.Reader, most int64, buf *[]byte) error {
	b := bytes.NewBuffer((*buf)[:0])
	n, err := b.ReadFrom(io.LimitReader(body, most+1))
	*buf = b.Bytes()
	if err != nil {
		return err
	}
	if a.more = n > most; a.more {
		n = most
	}
	a.body = b.Bytes()[:n]
	return nil
}

// A protocolError is a sentence about a server that speaks, but another protocol.
type protocolError string

func (e protocolError) Error() string { return string(e) }
