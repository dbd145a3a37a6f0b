// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"os"
	"strings"
	"sync"
)

// maxOutput is how much of what a command writes is kept, and maxFlood how much of it
// is read at all: one that goes on is killed.
const (
	maxOutput = 8 << 10
	maxFlood  = 1 << 20
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
		into := c.kept[min(c.size, maxOutput):]
		if len(into) == 0 {
			into = c.rest[:]
		}
		n, err := f.Read(into)
		before := c.size
		if c.size += n; before <= maxFlood && c.size > maxFlood {
			enough()
		}
		if err != nil {
			return
		}
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
