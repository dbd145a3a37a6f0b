// SPDX-License-Identifier: Apache-2.0

package probestest

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A TB is the part of testing.TB that the servers need. It stands for it so
// that a program that uses the Agent does not link the testing package.
type TB interface {
	Helper()
	Fatal(args ...any)
	Cleanup(f func())
}

// A Web is a real HTTP or HTTPS server that answers as it is told. Its zero
// settings mean an immediate 200 with an empty body.
type Web struct {
	Addr   netip.AddrPort
	Server *httptest.Server

	status atomic.Int64
	delay  atomic.Int64
	size   atomic.Int64
	last   atomic.Pointer[http.Request]
	hits   atomic.Int64
}

// NewWeb starts a server on the loopback; it ends with the test. With secure it
// speaks TLS, with a certificate of its own for example.com and the loopback
// addresses (Server.Certificate).
func NewWeb(t TB, secure bool) *Web {
	t.Helper()
	w := &Web{}
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(w.serve))
	w.Server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that hang up are what it is for
	if secure {
		w.Server.StartTLS()
	} else {
		w.Server.Start()
	}
	t.Cleanup(w.Server.Close)
	w.Addr = netip.MustParseAddrPort(w.Server.Listener.Addr().String())
	return w
}

// SetStatus sets the status of the coming answers; 3xx come with a Location.
func (w *Web) SetStatus(status int) { w.status.Store(int64(status)) }

// SetDelay makes the coming answers wait before their first byte.
func (w *Web) SetDelay(d time.Duration) { w.delay.Store(int64(d)) }

// SetSize sets the size of the coming bodies in bytes.
func (w *Web) SetSize(n int) { w.size.Store(int64(n)) }

// Last is the latest request, nil before the first.
func (w *Web) Last() *http.Request { return w.last.Load() }

// Hits counts the requests.
func (w *Web) Hits() int64 { return w.hits.Load() }

func (w *Web) serve(rw http.ResponseWriter, r *http.Request) {
	w.hits.Add(1)
	w.last.Store(r)
	select {
	case <-time.After(time.Duration(w.delay.Load())):
	case <-r.Context().Done(): // the client has gone; do not hold up Close
		return
	}
	status := int(w.status.Load())
	if status == 0 {
		status = http.StatusOK
	}
	if status/100 == 3 {
		rw.Header().Set("Location", "/elsewhere")
	}
	rw.WriteHeader(status)
	_, _ = rw.Write(make([]byte, w.size.Load())) // the client may have read enough
}

// Script starts a TCP server that writes text to each connection after the
// first bytes came in and closes it. It ends with the test.
func Script(t TB, text string) netip.AddrPort {
	t.Helper()
	return serveTCP(t, func(c net.Conn) {
		if _, err := c.Read(make([]byte, 64<<10)); err == nil {
			_, _ = c.Write([]byte(text))
		}
		_ = c.Close()
	})
}

// Mute starts a TCP server that accepts and never says a word.
func Mute(t TB) netip.AddrPort {
	t.Helper()
	return serveTCP(t, func(net.Conn) {})
}

// serveTCP gives each connection to handle. The connections that handle leaves
// open are closed when the test ends.
func serveTCP(t TB, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}) // closed when the accepting goroutine ends
	go func() {
		defer close(done)
		var conns []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				for _, c := range conns {
					_ = c.Close()
				}
				return
			}
			conns = append(conns, c)
			handle(c)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

// Refused is an address of the loopback where nothing listens.
func Refused(t TB) netip.AddrPort {
	t.Helper()
	// Bound and not listening: nobody else gets the port meanwhile.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := name.(*unix.SockaddrInet4)
	return netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port))
}
