// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestMonitor(t *testing.T) {
	n := testNode()
	n.onSub = func(fn func(string, []byte)) {
		fn("steelyard.v1.commit.lb1", []byte(`{"v":1}`))
		fn("steelyard.v1.event.info.x", []byte("not JSON\x00"))
	}
	c, _ := serve(t, n)
	enough := errors.New("enough")
	var got []Line
	err := c.Monitor(t.Context(), "commit.>", func(l Line) error {
		if got = append(got, l); len(got) == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatalf("error %v, want fn's own", err)
	}
	if got[0].Subject != "steelyard.v1.commit.lb1" || string(got[0].Data) != `{"v":1}` || time.Since(got[0].At) > time.Minute {
		t.Errorf("first line %+v", got[0])
	}
	if string(got[1].Data) != `"not JSON\u0000"` {
		t.Errorf("second line's data %s, want a JSON string", got[1].Data)
	}
	if calls := n.called(); len(calls) != 1 || calls[0] != "subscribe commit.>" {
		t.Errorf("calls %q", calls)
	}
	eventually(t, "the subscription is cancelled", func() bool { return n.subscribers() == 0 })
}

func TestMonitorEndsWithItsReaderOrTheServer(t *testing.T) {
	n := testNode()
	c, stop := serve(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2) // one result each
	go func() { ended <- c.Monitor(ctx, ">", func(Line) error { return nil }) }()
	eventually(t, "subscribed", func() bool { return n.subscribers() == 1 })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("after its context: %v, want nil", err)
	}
	eventually(t, "the subscription is cancelled", func() bool { return n.subscribers() == 0 })

	go func() { ended <- c.Monitor(t.Context(), ">", func(Line) error { return nil }) }()
	eventually(t, "subscribed", func() bool { return n.subscribers() == 1 })
	stop()
	if err := <-ended; !errors.Is(err, ErrUnreachable) {
		t.Errorf("after the server: %v, want ErrUnreachable", err)
	}
}

// TestSlowReaderIsTold: the publisher never waits, and the numbers add up.
func TestSlowReaderIsTold(t *testing.T) {
	const sent = 20_000
	n := testNode()
	body := []byte(`{"x":"` + strings.Repeat("x", 1000) + `"}`)
	n.onSub = func(fn func(string, []byte)) {
		for range sent {
			fn("steelyard.v1.event.info.x", body)
		}
	}
	c, _ := serve(t, n)
	var got, dropped uint64
	enough := errors.New("enough")
	err := c.Monitor(t.Context(), ">", func(l Line) error {
		dropped += l.Dropped
		if l.Subject != "" {
			got++
		}
		if got+dropped == sent {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || dropped == 0 || got < lineQueue {
		t.Errorf("%d lines, %d dropped, %v, want %d in all and at least %d lines", got, dropped, err, sent, lineQueue)
	}
}

func TestMonitorsAreLimited(t *testing.T) {
	n := testNode()
	c, _ := serve(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range maxMonitors {
		go func() { _ = c.Monitor(ctx, ">", func(Line) error { return nil }) }()
	}
	eventually(t, "all subscribed", func() bool { return n.subscribers() == maxMonitors })
	var e *Error
	if err := c.Monitor(ctx, ">", nil); !errors.As(err, &e) || e.Code != CodeBusy || e.Status != 503 {
		t.Errorf("one more: %v, want busy", err)
	}
	if _, err := c.Version(ctx); err != nil {
		t.Errorf("other routes: %v", err)
	}
}

func TestReadLinesRefuses(t *testing.T) {
	for _, in := range []string{"oops\n", `{"subject":1}` + "\n", strings.Repeat("x", maxLine+1)} {
		if err := readLines("monitor", strings.NewReader(in), func(Line) error { return nil }); err == nil || !strings.Contains(err.Error(), "read monitor") {
			t.Errorf("%.20q: error %v", in, err)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	for tick := time.NewTicker(time.Millisecond); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// It has no Output line and is compiled only: this machine may have a daemon.
func ExampleClient_Monitor() {
	c := NewClient("/run/steelyard/control.sock")
	err := c.Monitor(context.Background(), "health.>", func(l Line) error {
		fmt.Println(l.At, l.Subject, string(l.Data))
		return nil
	})
	if errors.Is(err, ErrUnreachable) {
		fmt.Println("the daemon is gone")
	}
}
