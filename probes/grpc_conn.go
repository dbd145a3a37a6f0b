// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"time"
)

// An overheard is a connection of which the framing layer's errors do not have to tell
// all: it keeps the first bytes that came, and stays open until its owner closes it.
type overheard struct {
	net.Conn

	mu    sync.Mutex
	first []byte // guarded by mu, which a read holds: the framing reads in a goroutine of its own
}

// maxOverheard is enough to tell what a server speaks.
const maxOverheard = 16

func (o *overheard) Read(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.Conn.Read(b)
	if room := maxOverheard - len(o.first); room > 0 {
		o.first = append(o.first, b[:min(n, room)]...)
	}
	return n, err
}

// Close does nothing: lastWord may still want to read. The owner closes Conn.
func (o *overheard) Close() error { return nil }

// wordWait is how long a failed call waits for a word that is on its way, or here already.
const wordWait = 100 * time.Millisecond

// begins is what came first, be it unread so far: a call may fail at sending already.
func (o *overheard) begins() string {
	_ = o.SetReadDeadline(time.Now().Add(wordWait)) // also ends a read of the framing
	o.mu.Lock()
	none := len(o.first) == 0
	o.mu.Unlock()
	if none {
		_, _ = o.Read(make([]byte, maxOverheard))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.first)
}

// speaksHTTP2 reports whether the first bytes of a server are a SETTINGS frame, with
// which every HTTP/2 connection begins (RFC 9113 §3.4): three bytes of length, the type
// 4, no flags, the stream 0.
func speaksHTTP2(begins string) bool {
	return len(begins) >= 9 && begins[3] == 4 && strings.Trim(begins[4:9], "\x00") == ""
}

// lastWord is why the other side hung up on us: under TLS 1.3 it refuses a client's
// certificate after the handshake, and the framing may have seen only the broken pipe.
func lastWord(conn *tls.Conn, err error) error {
	if refusedTLS(err) {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(wordWait))
	skip := make([]byte, 4<<10)
	for range 64 {
		if _, said := conn.Read(skip); refusedTLS(said) {
			return said
		} else if said != nil {
			break
		}
	}
	return err
}
