// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// As much of SIP (RFC 3261) and SDP (RFC 4566) as a call takes: INVITE, 200 OK and
// ACK, each side telling where it takes its media.

// A sipMessage is a request or an answer.
type sipMessage struct {
	first string // its first line
	head  textproto.MIMEHeader
	media netip.AddrPort // where its sender takes media
}

func readSIP(r *bufio.Reader) (m sipMessage, err error) {
	in := textproto.NewReader(r)
	if m.first, err = in.ReadLine(); err != nil {
		return m, err
	}
	if m.head, err = in.ReadMIMEHeader(); err != nil {
		return m, err
	}
	n, err := strconv.Atoi(m.head.Get("Content-Length"))
	if err != nil {
		return m, err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return m, fmt.Errorf("%s: %d bytes of SDP are announced: %w", m.first, n, err)
	}
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSpace(line)
		if a, ok := strings.CutPrefix(line, "c=IN IP"); ok {
			m.media = netip.AddrPortFrom(netip.MustParseAddr(a[2:]), 0)
		}
		if p, ok := strings.CutPrefix(line, "m=audio "); ok {
			var port uint16
			_, err = fmt.Sscan(p, &port)
			m.media = netip.AddrPortFrom(m.media.Addr(), port)
		}
	}
	return m, err
}

// contact is where the sender wants to be called, ADDRESS:PORT.
func (m sipMessage) contact() string {
	_, at, _ := strings.Cut(m.head.Get("Contact"), "@")
	return strings.TrimRight(at, ">")
}

// sipText is a message with the SDP of who takes media there, or with none.
func sipText(first, network, via, contact string, media netip.AddrPort, method string) string {
	var sdp string
	if media.IsValid() {
		in := "IN IP4"
		if media.Addr().Is6() {
			in = "IN IP6"
		}
		sdp = fmt.Sprintf("v=0\r\no=x 1 1 %[1]s %[2]s\r\ns=-\r\nc=%[1]s %[2]s\r\nt=0 0\r\nm=audio %[3]d RTP/AVP 0\r\n", in, media.Addr(), media.Port())
	}
	return fmt.Sprintf("%s\r\nVia: SIP/2.0/%s %s;branch=z9hG4bK1\r\nFrom: <sip:alice@example.net>;tag=1\r\nTo: <sip:bob@example.net>\r\n"+
		"Call-ID: 1@%s\r\nCSeq: 1 %s\r\nContact: <sip:x@%s>\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s",
		first, strings.ToUpper(network), via, media, method, contact, len(sdp), sdp)
}

// A calledSocket reads from anybody and writes to who was last.
type calledSocket struct {
	net.PacketConn
	from net.Addr
}

func (c *calledSocket) Read(b []byte) (n int, err error) {
	n, c.from, err = c.ReadFrom(b)
	return n, err
}

func (c *calledSocket) Write(b []byte) (int, error) { return c.WriteTo(b, c.from) }

// A sipServer takes calls over both transports and passes on the INVITEs that it
// gets. Each call has a port of its own for media, as the helper wants it: it drops
// the answer to a second call that announces what the first one did.
type sipServer struct {
	w     *world
	name  string
	addr  netip.AddrPort
	calls chan sipMessage // one call at a time
	port  atomic.Uint32   // of the latest call's media; even ones
}

func newSIPServer(w *world, name, addr string) *sipServer {
	s := &sipServer{w: w, name: name, addr: netip.MustParseAddrPort(addr), calls: make(chan sipMessage, 1)}
	s.port.Store(30000)
	go s.serve("udp", &calledSocket{PacketConn: w.datagrams(w.backends, addr)})
	w.in(w.backends, func() {
		l, err := net.Listen("tcp", addr)
		w.must(err)
		w.t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				w.t.Cleanup(func() { c.Close() })
				go s.serve("tcp", c)
			}
		}()
	})
	return s
}

// serve talks to who calls over one transport.
func (s *sipServer) serve(network string, c io.ReadWriter) {
	var client netip.AddrPort
	var rtp net.PacketConn
	for r := bufio.NewReader(c); ; {
		m, err := readSIP(r)
		if err != nil {
			return
		}
		switch method, _, _ := strings.Cut(m.first, " "); method {
		case "INVITE":
			client = m.media
			media := netip.AddrPortFrom(s.addr.Addr(), uint16(s.port.Add(2)))
			rtp = s.w.datagrams(s.w.backends, media.String())
			go s.echo(rtp)
			s.calls <- m
			via, _, _ := strings.Cut(m.head.Get("Via"), ";")
			_, _ = io.WriteString(c, sipText("SIP/2.0 200 OK", network, via[strings.Index(via, " ")+1:], s.addr.String(), media, method))
		case "ACK":
			_, _ = fmt.Fprintf(packetWriter{rtp, net.UDPAddrFromAddrPort(client)}, "%s speaks", s.name)
		}
	}
}

// echo sends media back, with its name and the address that it came from.
func (s *sipServer) echo(rtp net.PacketConn) {
	b := make([]byte, 64)
	for {
		_, from, err := rtp.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(packetWriter{rtp, from}, "%s heard %s", s.name, host(from))
	}
}

// A sipCall is a call that a client has made.
type sipCall struct {
	answer sipMessage
	heard  []string // media, with the address that it came from
}

// sipDial calls, and exchanges media both ways. Who speaks first must not matter.
func sipDial(w *world, network, addr string, port uint16, serverFirst bool) (call sipCall, err error) {
	var c net.Conn
	w.in(w.client, func() { c, err = (&net.Dialer{Timeout: patience}).Dial(network, addr) })
	if err != nil {
		return call, err
	}
	defer c.Close()
	self := netip.MustParseAddrPort(c.LocalAddr().String())
	rtp := w.datagrams(w.client, netip.AddrPortFrom(self.Addr(), port).String())
	for _, s := range []interface{ SetDeadline(time.Time) error }{c, rtp} {
		w.must(s.SetDeadline(time.Now().Add(patience)))
	}
	request := func(method string, media netip.AddrPort) error {
		_, err := io.WriteString(c, sipText(fmt.Sprintf("%s sip:bob@%s SIP/2.0", method, addr), network, self.String(), self.String(), media, method))
		return err
	}
	if err := request("INVITE", netip.AddrPortFrom(self.Addr(), port)); err != nil {
		return call, err
	}
	if call.answer, err = readSIP(bufio.NewReader(c)); err != nil {
		return call, err
	}
	listen := func() error {
		b := make([]byte, 64)
		n, from, err := rtp.ReadFrom(b)
		if err == nil {
			call.heard = append(call.heard, string(b[:n])+" from "+from.String())
		}
		return err
	}
	acknowledge := func() error { return errors.Join(request("ACK", netip.AddrPort{}), listen()) }
	speak := func() error {
		_, err := rtp.WriteTo([]byte("?"), net.UDPAddrFromAddrPort(call.answer.media))
		return errors.Join(err, listen())
	}
	if serverFirst {
		return call, errors.Join(acknowledge(), speak())
	}
	return call, errors.Join(speak(), acknowledge())
}

// TestHelperSIP makes calls, over both transports and families and with both
// forwardings. In what the client is told the backend's addresses have to be the
// VIP's, in what the backend is told the client's are the balancer's if that
// masquerades, and media has to come through though no frontend is there for it.
func TestHelperSIP(t *testing.T) {
	w := newWorld(t)
	a := needHelper(w, "sip")
	server, server6 := newSIPServer(w, "b1", "10.0.2.11:5060"), newSIPServer(w, "b1", "[fd00:2::11]:5060")
	sip := func(t *core.Traffic) { t.Helper = "sip" }
	both := func(name, vip, addr string) core.ServicePlan {
		s := service(name, vip, core.UDP, backend("b1", addr, core.Slots))
		return with(s, func(t *core.Traffic) {
			t.Frontends = append(t.Frontends, core.ExactFrontend(netip.MustParseAddrPort(vip), core.TCP))
		})
	}
	plain, masq := with(both("sip", "10.0.9.1:5070", "10.0.2.11:5060"), sip), forwarding(with(both("sip-masq", "10.0.9.1:5072", "10.0.2.11:5060"), sip), core.Masquerade)
	v6, none := with(both("sip6", "[fd00:9::1]:5070", "[fd00:2::11]:5060"), sip), both("sip-none", "10.0.9.1:5074", "10.0.2.11:5060")
	mustSync(t, a, plan(plain, masq, v6, none))

	port := uint16(40000)
	for _, s := range []core.ServicePlan{plain, masq, v6} {
		for _, network := range []string{"udp", "tcp"} {
			for _, serverFirst := range []bool{true, false} {
				port += 2 // RTP has even ones
				name := fmt.Sprintf("%s over %s, server first %t", s.Name, network, serverFirst)
				call, err := sipDial(w, network, serviceAddr(s), port, serverFirst)
				if err != nil {
					t.Errorf("%s: %v, heard %q of media at %s", name, err, call.heard, call.answer.media)
				}
				at := server
				if s.First().Addr().Is6() {
					at = server6
				}
				got := take(t, at.calls)
				checkCall(t, name, s, call, got)
			}
		}
	}
	call, _ := sipDial(w, "udp", serviceAddr(none), 41000, true)
	if got := take(t, server.calls); call.answer.media.Addr().String() != "10.0.2.11" || !strings.Contains(got.first, "10.0.9.1") {
		t.Errorf("without the helper: media at %s, request %q: the test proves nothing", call.answer.media, got.first)
	}
}

// checkCall checks what either side was told and heard in a call by a service.
func checkCall(t *testing.T, name string, s core.ServicePlan, call sipCall, got sipMessage) {
	t.Helper()
	if want := "INVITE sip:bob@" + s.Backends[0].Addr.String() + " SIP/2.0"; got.first != want {
		t.Errorf("%s: the backend got %q, want %q", name, got.first, want)
	}
	if addr, err := netip.ParseAddrPort(got.contact()); err != nil || addr.Addr().String() != seenClient(s) || got.media.Addr() != addr.Addr() {
		t.Errorf("%s: the client is at %s and takes media at %s, says the INVITE; want %s", name, got.contact(), got.media, seenClient(s))
	}
	if call.answer.contact() != serviceAddr(s) || call.answer.media.Addr() != s.First().Addr() {
		t.Errorf("%s: the server is at %s and takes media at %s, says the answer; want %s", name, call.answer.contact(), call.answer.media, s.First().Addr())
	}
	heard := strings.Join(call.heard, ", ")
	for _, want := range []string{"b1 speaks", "b1 heard " + seenClient(s)} {
		if want += " from " + call.answer.media.String(); !strings.Contains(heard, want) {
			t.Errorf("%s: heard %q, want %q", name, heard, want)
		}
	}
}
