// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/steelyard-lb/steelyard/core"
)

// pingFlood speaks HTTP/2 and sends nothing but pings, each of which is to be answered.
// It counts the bytes that the other side took.
func pingFlood(t *testing.T) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var pings bytes.Buffer
	f := http2.NewFramer(&pings, nil)
	for range 1000 {
		_ = f.WritePing(false, [8]byte{1}) // into memory
	}
	taken, done := new(atomic.Int64), make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, conn) }() // ends with the connection
			_ = http2.NewFramer(conn, nil).WriteSettings()
			for err == nil {
				var n int
				n, err = conn.Write(pings.Bytes())
				taken.Add(int64(n))
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return netip.MustParseAddrPort(l.Addr().String()), taken
}

// TestHTTP2Flood: pings and settings cost the sender nothing, and us an answer each.
func TestHTTP2Flood(t *testing.T) {
	addr, taken := pingFlood(t)
	for name, target := range map[string]Target{
		"http": httpTarget(addr, core.HTTPSpec{HTTP2: true}),
		"grpc": grpcTarget(addr, core.GRPCSpec{}),
	} {
		taken.Store(0)
		target.Spec.Timeout = 10 * time.Second
		wantCode(t, ask(t, target), false, core.L7Response, "too much")
		// What the kernel's buffers hold was taken, too.
		if n := taken.Load(); n > 16<<20 {
			t.Errorf("%s: %d bytes were taken", name, n)
		}
	}
}
