// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// The two sides of as much of FTP (RFC 959) as a helper looks at: a control
// connection on which addresses are announced, and the connection to them.

// ftpServer greets, and sends its name over a data connection of either kind.
func ftpServer(w *world, name, addr string) {
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
				go ftpSession(w, name, c)
			}
		}()
	})
}

// ftpSession answers on one control connection. The data connections are made in
// threads of the backends' namespace.
func ftpSession(w *world, name string, c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	say("220 %s", name)
	var data func() (net.Conn, error)
	for in := bufio.NewScanner(c); in.Scan(); {
		verb, rest, _ := strings.Cut(in.Text(), " ")
		switch verb {
		case "USER":
			say("331 who else")
		case "PASV":
			var l net.Listener
			var err error
			w.in(w.backends, func() { l, err = net.Listen("tcp", net.JoinHostPort(host(c.LocalAddr()), "0")) })
			if err != nil {
				say("425 %v", err)
				return
			}
			data = func() (net.Conn, error) { defer l.Close(); return l.Accept() }
			say("227 Entering Passive Mode (%s).", ftpAddr(l.Addr()))
		case "PORT":
			to := parseFTPAddr(rest)
			data = func() (d net.Conn, err error) {
				w.in(w.backends, func() { d, err = (&net.Dialer{Timeout: patience}).Dial("tcp", to) })
				return d, err
			}
			say("200 PORT %s", to)
		case "RETR":
			say("150 here it comes")
			d, err := data()
			if err != nil {
				say("425 %v", err)
				return
			}
			fmt.Fprintf(d, "%s %s", name, host(d.RemoteAddr()))
			d.Close()
			say("226 done")
		}
	}
}

// ftpAddr is h1,h2,h3,h4,p1,p2.
func ftpAddr(a net.Addr) string {
	ap := netip.MustParseAddrPort(a.String())
	return fmt.Sprintf("%s,%d,%d", strings.ReplaceAll(ap.Addr().Unmap().String(), ".", ","), ap.Port()>>8, ap.Port()&0xff)
}

func parseFTPAddr(text string) string {
	var b [6]int
	if _, err := fmt.Sscanf(text, "%d,%d,%d,%d,%d,%d", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]); err != nil {
		return text
	}
	return fmt.Sprintf("%d.%d.%d.%d:%d", b[0], b[1], b[2], b[3], b[4]<<8|b[5])
}

// ftpGet fetches over a data connection that one of both sides opens. It returns
// what came, and the address that the server announced.
func ftpGet(w *world, addr string, passive bool) (got, announced string, err error) {
	var c net.Conn
	w.in(w.client, func() { c, err = (&net.Dialer{Timeout: patience}).Dial("tcp", addr) })
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	in := bufio.NewScanner(c)
	ask := func(format string, args ...any) string {
		fmt.Fprintf(c, format, args...)
		in.Scan()
		return in.Text()
	}
	ask("") // the greeting
	// A helper looks only at lines that follow one that it has seen.
	ask("USER anybody\r\n")
	var open func() (net.Conn, error)
	if passive {
		answer := ask("PASV\r\n")
		_, list, _ := strings.Cut(answer, "(")
		announced = parseFTPAddr(list)
		open = func() (d net.Conn, err error) {
			w.in(w.client, func() { d, err = (&net.Dialer{Timeout: time.Second}).Dial("tcp", announced) })
			return d, err
		}
	} else {
		var l net.Listener
		w.in(w.client, func() { l, err = net.Listen("tcp", net.JoinHostPort(host(c.LocalAddr()), "0")) })
		if err != nil {
			return "", "", err
		}
		defer l.Close()
		_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
		announced = ask("PORT %s\r\n", ftpAddr(l.Addr()))
		open = l.Accept
	}
	ask("RETR it\r\n")
	d, err := open()
	if err != nil {
		return "", announced, err
	}
	defer d.Close()
	_ = d.SetDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(d)
	return string(b), announced, err
}

// TestHelperFTP fetches through a service whose port is not FTP's own, in both
// modes and with both forwardings. Without the helper the client is sent to an
// address that it cannot know.
func TestHelperFTP(t *testing.T) {
	w := newWorld(t)
	a := needHelper(w, "ftp")
	ftpServer(w, "b1", "10.0.2.11:2100")
	b := backend("b1", "10.0.2.11:2100", core.Slots)
	ftp := func(t *core.Traffic) { t.Helper = "ftp" }
	plain, masq := with(service("ftp", "10.0.9.1:2121", core.TCP, b), ftp), forwarding(with(service("ftp-masq", "10.0.9.1:2122", core.TCP, b), ftp), core.Masquerade)
	none := service("ftp-none", "10.0.9.1:2123", core.TCP, b)
	w.in(w.balancer, func() {
		_, refused, err := a.Sync(context.Background(), plan(plain, masq, none))
		w.must(errors.Join(err, errorOf(refused)))
	})
	for _, s := range []core.ServicePlan{plain, masq} {
		got, announced, err := ftpGet(w, serviceAddr(s), true)
		if want := "b1 " + seenClient(s); got != want || !strings.HasPrefix(announced, "10.0.9.1:") {
			t.Errorf("%s, passive: got %q from %s, %v: want %q from the VIP", s.Name, got, announced, err, want)
		}
	}
	// In active mode the server calls back; behind masquerade it is told the
	// balancer's address, and the helper brings the call to the client.
	for _, s := range []core.ServicePlan{plain, masq} {
		want := "b1 10.0.1.2"
		if s.Forwarding == core.Masquerade {
			want = "b1 10.0.2.1"
		}
		if got, announced, err := ftpGet(w, serviceAddr(s), false); got != want {
			t.Errorf("%s, active: got %q, server said %q, %v: want %q", s.Name, got, announced, err, want)
		}
	}
	if got, announced, err := ftpGet(w, serviceAddr(none), true); strings.HasPrefix(announced, "10.0.9.1:") {
		t.Errorf("without the helper: got %q from %s, %v: the test proves nothing", got, announced, err)
	}
}
