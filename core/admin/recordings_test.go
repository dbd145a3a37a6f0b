// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

var recordedAt = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func recorded(n int, service string) core.Recorded {
	return core.Recorded{At: recordedAt.Add(time.Duration(n) * time.Millisecond), Policy: "mine", Snapshot: core.Snapshot{Service: service, Seq: uint64(n)}, Weights: []float64{1, core.Hold}}
}

func TestRecordings(t *testing.T) {
	n := testNode()
	for i, service := range []string{"web", "dns", "web"} {
		n.record(recorded(i, service))
	}
	c, _ := serve(t, n)
	for services, want := range map[string][]string{"": {"web 0", "dns 1", "web 2"}, "web": {"web 0", "web 2"}, "web dns web": {"dns 1", "web 0", "web 2"}} {
		var got []string
		err := c.Recordings(t.Context(), strings.Fields(services), false, func(r core.Recorded) error {
			got = append(got, fmt.Sprint(r.Snapshot.Service, " ", r.Snapshot.Seq))
			if diff := cmp.Diff(recorded(int(r.Snapshot.Seq), r.Snapshot.Service), r); diff != "" {
				t.Errorf("what comes is not what was kept (-want +got):\n%s", diff)
			}
			return nil
		})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("services %q: %v, (-want +got):\n%s", services, err, diff)
		}
	}
	if calls := n.called(); len(calls) > 0 {
		t.Errorf("without follow the node was asked for %v", calls)
	}
	var e *Error
	if err := c.Recordings(t.Context(), []string{"wbe"}, false, nil); !errors.As(err, &e) || e.Code != CodeUnknownService {
		t.Errorf("an unknown service: %v", err)
	}
	if _, err := c.do(t.Context(), "GET", "/v1/recordings?follow=perhaps", nil); !errors.As(err, &e) || e.Code != CodeBadRequest {
		t.Errorf("follow=perhaps: %v", err)
	}
}

// A follower gets each call once, and the server is rid of it when it hangs up.
func TestRecordingsAreFollowed(t *testing.T) {
	n := testNode()
	n.record(recorded(0, "web"))
	c, stop := serve(t, n)
	got, ended := make(chan uint64), make(chan error, 2) // one result each
	ctx, cancel := context.WithCancel(t.Context())
	follow := func(ctx context.Context) {
		ended <- c.Recordings(ctx, []string{"web"}, true, func(r core.Recorded) error {
			got <- r.Snapshot.Seq
			return nil
		})
	}
	go follow(ctx)
	for i := range 5 {
		if seq := <-got; seq != uint64(i) {
			t.Fatalf("call %d, want %d", seq, i)
		}
		n.record(recorded(i+1, "web"))
	}
	<-got
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("after its context: %v, want nil", err)
	}
	go follow(t.Context())
	for range 6 {
		<-got
	}
	stop()
	if err := <-ended; !errors.Is(err, ErrUnreachable) {
		t.Errorf("after the server: %v, want ErrUnreachable", err)
	}
	calls := slices.Sorted(slices.Values(n.called())) // the first may end after the second has begun
	if diff := cmp.Diff([]string{"follow web", "follow web", "no longer web", "no longer web"}, calls); diff != "" {
		t.Errorf("the node was asked to (-want +got):\n%s", diff)
	}
}
