// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A fakeConn is one of an address.
type fakeConn struct {
	net.Conn
	from   string
	closed bool
}

func (c *fakeConn) RemoteAddr() net.Addr {
	a, err := net.ResolveTCPAddr("tcp", c.from)
	if err != nil {
		panic(err)
	}
	return a
}

func (c *fakeConn) Close() error {
	c.closed = true
	return nil
}

// arrive opens connections of an address and returns them.
func arrive(c *crowd, n int, from string) []*fakeConn {
	var out []*fakeConn
	for range n {
		conn := &fakeConn{from: from}
		c.state(conn, http.StateNew)
		out = append(out, conn)
	}
	return out
}

func TestQuietConnectionsMakeRoom(t *testing.T) {
	c := &crowd{}
	list := arrive(c, maxPerClient, "192.0.2.1:1000")
	for _, conn := range list[1:] {
		c.state(conn, http.StateActive)
	}
	c.state(list[5], http.StateIdle)
	more := arrive(c, 3, "192.0.2.1:2000")
	if !list[0].closed || !list[5].closed || !more[0].closed {
		t.Errorf("closed: %t %t %t, want the quiet ones, the oldest first", list[0].closed, list[5].closed, more[0].closed)
	}
	for i, conn := range list {
		if i != 0 && i != 5 && conn.closed {
			t.Errorf("connection %d was in a request, and is closed", i)
		}
	}
	for _, conn := range list {
		c.state(conn, http.StateActive)
	}
	c.state(more[2], http.StateActive)
	c.state(more[1], http.StateActive)
	if late := arrive(c, 1, "192.0.2.1:3000"); !late[0].closed {
		t.Error("one more than the limit, and all others are in a request: want it closed")
	}
	if other := arrive(c, 1, "192.0.2.2:3000"); other[0].closed {
		t.Error("another client was kept out")
	}
}

// Whatever others do, this machine gets in.
func TestOthersDoNotKeepThisMachineOut(t *testing.T) {
	c := &crowd{}
	for i := range 20 {
		for _, conn := range arrive(c, maxPerClient, net.JoinHostPort(net.IPv4(192, 0, 2, byte(i)).String(), "1000")) {
			c.state(conn, http.StateActive)
		}
	}
	if len(c.conns) != maxConnections {
		t.Errorf("%d connections, want %d", len(c.conns), maxConnections)
	}
	for _, from := range []string{"127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"} {
		if own := arrive(c, 1, from); own[0].closed {
			t.Errorf("%s was kept out", from)
		}
	}
	for conn := range c.conns {
		c.state(conn, http.StateClosed)
	}
	if len(c.conns) != 0 {
		t.Errorf("%d are left", len(c.conns))
	}
}

// A body that nobody reads keeps no place, however slowly it comes.
func TestSlowBodiesKeepNoPlace(t *testing.T) {
	s := fed(t, Config{Node: &fakeNode{view: populated(1, 2)}, Users: []User{{Name: "prometheus", Password: "secret", Rights: []string{RightRead}}}})
	host := strings.TrimPrefix(serving(t, s, "http"), "http://")
	for _, line := range []string{"POST /v1/metrics", "POST /healthz", "GET /healthz", "GET /metrics", "POST /nowhere"} {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, line+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nx"); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(readTimeout / 3))
		if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 ") {
			t.Errorf("%s: %q, %v; want an answer and the end", line, answer, err)
		}
	}
}
