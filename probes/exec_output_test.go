// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestCaptureTakesWhatIsThere: what a command has written before its end is not lost to
// whoever had no turn until the deadline was over; and one that writes on is left.
func TestCaptureTakesWhatIsThere(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(r, w) // w stays open: somebody holds the pipe
	if _, err := w.WriteString("OK - fine | a=1\n"); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	c := newCapture()
	defer c.release()
	c.read(r, func() { t.Error("it is said to be a flood") })
	if got := string(c.text()); got != "OK - fine | a=1\n" {
		t.Errorf("got %q", got)
	}

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for err := error(nil); err == nil; {
			_, err = w.WriteString(strings.Repeat("x", 4096))
		}
	}()
	c.read(r, func() { t.Error("it is said to be a flood") })
	_ = r.Close()
	<-ended
}
