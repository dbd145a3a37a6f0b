// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// liars are what a worker that somebody has taken over would do so as never to be
// looked after. Each is the process after its hello, with a call to answer.
var liars = map[string]func() int{
	"moves from call to call": func() int {
		_, shared := hello()
		for i := 0; ; i++ {
			shared.set(i % 3)
		}
	},
	"counts calls that there are not": func() int {
		_, shared := hello()
		for i := 0; ; i++ {
			shared.set(i)
			time.Sleep(time.Millisecond)
		}
	},
	"drips": func() int {
		conn, _ := hello()
		for frame := end(append(begin(nil, typeResults), make([]byte, 1<<20)...)); ; frame = frame[1:] {
			if _, err := conn.Write(frame[:1]); err != nil {
				return 1
			}
			time.Sleep(time.Millisecond)
		}
	},
}

// hello joins the parent.
func hello() (*os.File, progress) {
	conn := os.NewFile(fdConn, "parent")
	shared, err := mapProgress(os.NewFile(fdProgress, "progress"))
	if err == nil {
		_, err = conn.Write(end(append(begin(nil, typeHello), "as a liar"...)))
	}
	if err != nil {
		os.Exit(2)
	}
	return conn, shared
}

// TestLiars: the limits hold for a worker whatever it says of its progress.
func TestLiars(t *testing.T) {
	for name := range liars {
		t.Run(name, func(t *testing.T) {
			p, err := Start(context.Background(), []string{"/proc/self/exe", "lie", name}, DefaultMemory)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			ended := make(chan error, 1)
			go func() {
				var b Batch
				b.Reset()
				b.Add([]byte("one call"))
				b.Add([]byte("and another"))
				_, err := p.Call(&b, Limits{CPU: 50 * time.Millisecond, Wall: 300 * time.Millisecond, Memory: DefaultMemory})
				ended <- err
			}()
			select {
			case err := <-ended:
				var death *Death
				if !errors.As(err, &death) || !strings.Contains(death.Cause, "the worker was killed") {
					t.Errorf("it ended with %v", err)
				}
			case <-time.After(20 * time.Second):
				_ = p.cmd.Process.Kill() // so that the call comes to its end
				t.Errorf("it is still at work: %v", <-ended)
			}
		})
	}
}
