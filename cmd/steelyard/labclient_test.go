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
	"testing"
	"time"
)

// TestClientCauses asks servers that fail in each of the ways.
func TestClientCauses(t *testing.T) {
	ok := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(backendHeader, "web1")
	}))
	t.Cleanup(ok.Close)
	bad := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(bad.Close)
	refuses := listen(t, nil)
	refuses.Close()
	tests := []struct {
		name, addr, cause, backend string
	}{
		{"answers", ok.Listener.Addr().String(), "", "web1"},
		{"answers with an error", bad.Listener.Addr().String(), causeOther, ""},
		{"refuses", refuses.Addr().String(), causeRefused, ""},
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
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
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
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.Header().Set(backendHeader, "slow")
	}))
	t.Cleanup(srv.Close)
	c := labClient{target: srv.Listener.Addr().String(), rate: 200, every: 20 * ms, timeout: 10 * time.Second, most: 30}
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
			cancel()
			close(release)
		}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	// One or two more may slip in between the release and the end.
	if sent < 30 || sent > 35 || skipped < 10 || answered != sent {
		t.Errorf("sent %d, skipped %d, answered %d; want 30 sent and answered, the others skipped", sent, skipped, answered)
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
