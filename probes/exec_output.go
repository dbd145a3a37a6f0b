// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// maxOutput is how much of what a command writes is kept, and maxFlood how much of it
// is read at all: one that goes on is killed. pipeSize is what a pipe of Linux holds.
const (
	maxOutput = 8 << 10
	maxFlood  = 1 << 20
	pipeSize  = 64 << 10
)

// A capture is the beginning of what a command wrote. It is used again and again.
type capture struct {
	size int // of all that was written, kept or not
	kept [maxOutput]byte
	rest [4 << 10]byte // what is not kept goes here
}

var captures = sync.Pool{New: func() any { return new(capture) }}

func newCapture() *capture {
	c := captures.Get().(*capture)
	c.size = 0
	return c
}

func (c *capture) release() { captures.Put(c) }

// read takes all that comes from f until its end or its deadline, so that a
// command never waits for us. Past maxFlood it calls enough once and goes on.
func (c *capture) read(f *os.File, enough func()) {
	for {
		n, err := f.Read(c.room())
		c.took(n, enough)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.readLeft(f, enough)
		}
		if err != nil {
			return
		}
	}
}

// readLeft takes what is in the pipe, and waits for nothing: on a busy machine the
// deadline may be over before we had a turn, and then Read does not even look.
func (c *capture) readLeft(f *os.File, enough func()) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // it may be closed already
		for left := pipeSize; left > 0; {
			n, err := unix.Read(int(fd), c.room())
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || n == 0 {
				return
			}
			c.took(n, enough)
			left -= n
		}
	})
}

// room is where the next bytes go.
func (c *capture) room() []byte {
	if into := c.kept[min(c.size, maxOutput):]; len(into) > 0 {
		return into
	}
	return c.rest[:]
}

// took notes that n bytes more have come.
func (c *capture) took(n int, enough func()) {
	before := c.size
	if c.size += n; before <= maxFlood && c.size > maxFlood {
		enough()
	}
}

// text is what was kept. It is good until release.
func (c *capture) text() []byte { return c.kept[:min(c.size, maxOutput)] }

// cut reports whether there was more.
func (c *capture) cut() bool { return c.size > maxOutput }

// firstLine is the first line that is not empty.
func firstLine(s string) string {
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return ""
}
