// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// TestClientCauses asks servers that fail in each of the ways.
func TestClientCauses(t *testing.T) {
	ok := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(backendHeader, "web1")
	}))
	t.Cleanup(ok.Close)
	bad := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(bad.Close)
	tests := []struct {
		name, addr, cause, backend string
	}{
		{"answers", ok.Listener.Addr().String(), "", "web1"},
		{"answers with an error", bad.Listener.Addr().String(), causeOther, ""},
		{"refuses", probestest.Refused(t).String(), causeRefused, ""},
		{"resets", listen(t, func(c net.Conn) {
			_ = c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}).Addr().String(), causeReset, ""},
		{"hangs up", listen(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1024))
			c.Close()
		}).Addr().String(), causeReset, ""},
		{"says nothing", listen(t, func(c net.Conn) { t.Cleanup(func() { c.Close() }) }).Addr().String(), causeTimeout, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
			if tt.cause == causeTimeout {
				client.Timeout = 300 * time.Millisecond
			}
			backend, err := ask(client, "http://"+tt.addr+"/")
			cause := ""
			if err != nil {
				cause = causeOf(err)
			}
			if cause != tt.cause || backend != tt.backend {
				t.Errorf("cause %q from %q (%v), want %q from %q", cause, backend, err, tt.cause, tt.backend)
			}
		})
	}
}

// listen accepts connections and hands them to serve.
func listen(t *testing.T, serve func(net.Conn)) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
		}
	}()
	return l
}

// TestClientRate: a server that is slow does not slow the client down.
func TestClientRate(t *testing.T) {
	release := make(chan struct{})
	var open, most atomic.Int64 // requests at once
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for now := open.Add(1); ; {
			if old := most.Load(); now <= old || most.CompareAndSwap(old, now) {
				break
			}
		}
		<-release
		w.Header().Set(backendHeader, "slow")
		open.Add(-1)
	}))
	t.Cleanup(srv.Close)
	c := labClient{target: srv.Listener.Addr().String(), rate: 200, every: 20 * ms, timeout: time.Minute, most: 30}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- c.run(ctx, w)
		w.Close()
	}()
	sent, skipped, answered := 0, 0, 0
	began := time.Now()
	for dec := json.NewDecoder(r); ; {
		var report clientReport
		if err := dec.Decode(&report); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		sent, skipped, answered = sent+report.Sent, skipped+report.Skipped, answered+len(report.Answers["slow"])
		if skipped >= 10 && ctx.Err() == nil {
			if took := time.Since(began); took < 150*ms {
				t.Errorf("40 requests at 200/s were due after %v", took)
			}
			if sent != 30 {
				t.Errorf("sent %d, skipped %d, and none was answered: want 30 sent", sent, skipped)
			}
			cancel()
			close(release)
		}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	// Some more may slip in between the release and the end.
	if skipped < 10 || answered != sent || most.Load() > 30 {
		t.Errorf("sent %d, skipped %d, answered %d, %d at once; want all answered, and 30 at once at most", sent, skipped, answered, most.Load())
	}
}

func TestLabCommandsRefuseNonsense(t *testing.T) {
	for _, args := range [][]string{
		{"lab-client", "127.0.0.1:1", "--rate", "0"},
		{"lab-backend", "--quota", "0"},
		{"demo", "--seconds", "5"},
	} {
		root := newLabClientCommand()
		switch args[0] {
		case "lab-backend":
			root = newLabBackendCommand()
		case "demo":
			root = newDemoCommand()
		}
		root.SetArgs(args[1:])
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "--") {
			t.Errorf("%v: %v, want an error that names the flag", args, err)
		}
	}
}
