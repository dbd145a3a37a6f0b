// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// A labClient opens a new connection for each request, at a steady rate: it
// does not slow down when the servers do.
type labClient struct {
	target  string // address and port
	rate    float64
	every   time.Duration
	timeout time.Duration
	most    int
}

// The causes of failures.
const (
	causeRefused = "refused"
	causeReset   = "reset"
	causeTimeout = "timeout"
	causeOther   = "other"
)

// A clientReport is one line of the client's output: what ended since the line
// before.
type clientReport struct {
	From     time.Time                 `json:"from"`
	To       time.Time                 `json:"to"`
	Sent     int                       `json:"sent"`
	Skipped  int                       `json:"skipped"` // not sent: too many were under way
	Answers  map[string][]clientAnswer `json:"answers"` // by backend
	Failures []clientFailure           `json:"failures"`
}

// A clientAnswer is a request that a backend answered.
type clientAnswer struct {
	Started time.Time `json:"started_at"`
	Latency float64   `json:"latency_seconds"` // from connect to the last byte
}

// A clientFailure is a request that got no good answer.
type clientFailure struct {
	Started time.Time `json:"started_at"`
	Ended   time.Time `json:"ended_at"`
	Cause   string    `json:"cause"`
	Error   string    `json:"error"`
}

func newLabClientCommand() *cobra.Command {
	var c labClient
	cmd := &cobra.Command{
		Use:    "lab-client ADDRESS:PORT",
		Short:  "Send HTTP requests at a steady rate, each on a new connection (used by demo)",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.target = args[0]
			if c.rate <= 0 || c.every <= 0 || c.most <= 0 {
				return fmt.Errorf("--rate %g --every %s --concurrency %d: all must be above 0", c.rate, c.every, c.most)
			}
			return c.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.Float64Var(&c.rate, "rate", 100, "requests per second")
	f.DurationVar(&c.every, "every", 250*time.Millisecond, "time between two lines of output")
	f.DurationVar(&c.timeout, "timeout", 2*time.Second, "time after which a request has failed")
	f.IntVar(&c.most, "concurrency", 512, "most requests under way; more are skipped")
	return cmd
}

// run sends until ctx is done, waits for what is under way, and writes a last
// line.
func (c labClient) run(ctx context.Context, out io.Writer) error {
	t := newClientTally(time.Now())
	var senders sync.WaitGroup
	senders.Go(func() { c.send(ctx, t) })
	finished := make(chan struct{})
	go func() { senders.Wait(); close(finished) }()

	enc := json.NewEncoder(out)
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := enc.Encode(t.take(time.Now())); err != nil {
				return err
			}
		case <-finished:
			return enc.Encode(t.take(time.Now()))
		}
	}
}

// send starts requests by the clock: a late start does not delay the next one.
func (c labClient) send(ctx context.Context, t *clientTally) {
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	client := &http.Client{Transport: transport, Timeout: c.timeout}
	slots := make(chan struct{}, c.most) // one token per request under way
	gap := time.Duration(float64(time.Second) / c.rate)
	var requests sync.WaitGroup
	defer requests.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next := time.Now(); ; next = next.Add(gap) {
		timer.Reset(time.Until(next))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		select {
		case slots <- struct{}{}:
			t.sent()
			requests.Go(func() {
				defer func() { <-slots }()
				started := time.Now()
				backend, err := ask(client, "http://"+c.target+"/")
				t.ended(started, time.Now(), backend, err)
			})
		default:
			t.skip()
		}
	}
}

// ask makes one request and says who answered. It does not take run's context:
// a request that was begun is part of the result.
func ask(client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %s", resp.Status)
	}
	return resp.Header.Get(backendHeader), nil
}

// causeOf sorts an error of a request.
func causeOf(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return causeRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return causeReset
	case errors.As(err, &timeout) && timeout.Timeout():
		return causeTimeout
	}
	return causeOther
}

// A clientTally collects a report.
type clientTally struct {
	mu  sync.Mutex
	now clientReport // guarded by mu; the report in the making
}

func newClientTally(at time.Time) *clientTally {
	return &clientTally{now: clientReport{From: at, Answers: map[string][]clientAnswer{}, Failures: []clientFailure{}}}
}

func (t *clientTally) sent() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Sent++
}

func (t *clientTally) skip() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Skipped++
}

func (t *clientTally) ended(from, to time.Time, backend string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.now.Failures = append(t.now.Failures, clientFailure{from, to, causeOf(err), err.Error()})
		return
	}
	t.now.Answers[backend] = append(t.now.Answers[backend], clientAnswer{from, to.Sub(from).Seconds()})
}

// take returns the report and begins the next one.
func (t *clientTally) take(at time.Time) clientReport {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.now
	r.To = at
	t.now = newClientTally(at).now
	return r
}
