// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// Connections at a time. Those of this machine are counted apart, so that nobody else
// can keep a health check of it out.
const (
	maxConnections = 256
	maxPerClient   = 32 // of one address
)

// A host is the other end of connections; the zero one is this machine.
type host netip.Addr

// A crowd is the open connections. Where there are too many, the one goes that has
// said nothing for longest; only a request under way keeps its place.
type crowd struct {
	mu    sync.Mutex
	conns map[net.Conn]*visit // guarded by mu
	turn  uint64              // guarded by mu; counts up
}

type visit struct {
	from  host
	quiet bool   // no request is under way
	since uint64 // the turn at which that began
}

// state is the hook of http.Server for each change of a connection.
func (c *crowd) state(conn net.Conn, to http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn++
	switch to {
	case http.StateNew:
		c.enter(conn)
	case http.StateIdle, http.StateActive:
		if v := c.conns[conn]; v != nil {
			v.quiet, v.since = to == http.StateIdle, c.turn
		}
	case http.StateClosed, http.StateHijacked:
		delete(c.conns, conn)
	}
}

// enter counts a new connection and makes room for it, or closes it.
func (c *crowd) enter(conn net.Conn) {
	if c.conns == nil {
		c.conns = make(map[net.Conn]*visit)
	}
	from := hostOf(conn)
	here := func(v *visit) bool { return (v.from == host{}) == (from == host{}) }
	ofClient := func(v *visit) bool { return v.from == from }
	if !c.room(here, maxConnections) || (from != host{}) && !c.room(ofClient, maxPerClient) {
		cut(conn)
		return
	}
	c.conns[conn] = &visit{from: from, quiet: true, since: c.turn}
}

// room reports whether there are fewer than most among some, after closing the one that
// is quiet for longest if need be.
func (c *crowd) room(among func(*visit) bool, most int) bool {
	n := 0
	var oldest net.Conn
	for conn, v := range c.conns {
		if !among(v) {
			continue
		}
		n++
		if v.quiet && (oldest == nil || v.since < c.conns[oldest].since) {
			oldest = conn
		}
	}
	if n < most {
		return true
	}
	if oldest == nil {
		return false
	}
	delete(c.conns, oldest)
	cut(oldest)
	return true
}

// cut closes without a word: a TLS connection would wait for its farewell to be sent.
func cut(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	_ = conn.Close()
}

func hostOf(conn net.Conn) host {
	a, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil || a.Addr().Unmap().IsLoopback() {
		return host{}
	}
	return host(a.Addr().Unmap().WithZone(""))
}
