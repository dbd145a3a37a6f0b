// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// A family is the addresses of docs/ha.md and of packaging/, of one family. The lab
// gives those of its network.
type family struct {
	vip     string
	gateway string // of the backends: moves with the VIP
	ready   string // each balancer's http.listen
	bits    int
	of      func(*lab.Node) netip.Addr

	keepalived []string // what differs in keepalived.conf: pairs of old and new
}

var ip4 = family{"203.0.113.10", "198.51.100.254", "127.0.0.1:9190", 32, func(n *lab.Node) netip.Addr { return n.Addr4 }, nil}

// ip6 is the family with IPv6, and what that changes in keepalived.conf.
func ip6(conf ...string) family {
	return family{"2001:db8:3::10", "2001:db8:2::254", "[::1]:9190", 128, func(n *lab.Node) netip.Addr { return n.Addr6 }, conf}
}

// service is where clients connect to.
func (f family) service() string { return net.JoinHostPort(f.vip, "80") }

// A stand is two balancers and two servers on one network, and a client behind the
// router.
type stand struct {
	family
	t         *testing.T
	lab       *lab.Lab
	client    *lab.Node
	router    *lab.Node
	servers   []*lab.Node
	balancers []*balancer
	others    map[string]*lab.Process // what runs elsewhere
	dir       string
}

// newStand builds it. Nothing is configured yet that one of the ways to fail over
// does in its own manner: who has the VIP, and how the servers' answers go.
func newStand(t *testing.T, of family) *stand {
	t.Helper()
	labtest.NeedRoot(t)
	l := labtest.New(t, lab.Config{Backends: 4, IPv6: of.bits == 128, Grace: 300 * time.Millisecond})
	s := &stand{family: of, t: t, lab: l, client: l.Client, router: l.Balancer, servers: l.Backends[:2], others: map[string]*lab.Process{}}
	// Not in the temporary directory: keepalived runs no script that others than root
	// could replace, and looks at every directory on the way.
	dir, err := os.MkdirTemp("/run", "steelyard-ha")
	s.must(err)
	s.must(os.Chmod(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s.dir = dir
	s.ip(s.router, "addr del %s/%d dev lo", s.vip, s.bits)
	for _, n := range s.servers {
		s.serve(n)
	}
	for i, n := range l.Backends[2:] {
		s.balancers = append(s.balancers, newBalancer(s, fmt.Sprintf("lb%d", i+1), n))
	}
	s.syncLink()
	return s
}

func (s *stand) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// ip runs ip(8) in a node.
func (s *stand) ip(n *lab.Node, format string, args ...any) {
	s.t.Helper()
	_, err := n.Command(s.t.Context(), "ip", strings.Fields(fmt.Sprintf(format, args...))...)
	s.must(err)
}

// syncLink joins the balancers by a link of their own.
func (s *stand) syncLink() {
	s.t.Helper()
	one, two := s.balancers[0].node, s.balancers[1].node
	s.ip(one, "link add sync type veth peer name sync netns %s", two.Namespace)
	for i, n := range []*lab.Node{one, two} {
		s.ip(n, "addr add 10.255.0.%d/30 dev sync", i+1)
		s.ip(n, "link set sync up")
	}
}

// serve answers every line with the node's name; once asked to push, it says that
// unasked. A connection of a probe, which says nothing, is met with silence.
func (s *stand) serve(n *lab.Node) {
	s.t.Helper()
	l, err := n.Listen("tcp", "[::]:80")
	s.must(err)
	s.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for in := bufio.NewScanner(c); in.Scan(); {
					_, err := fmt.Fprintln(c, n.Name)
					for in.Text() == push && err == nil {
						wait(talkEvery)
						_, err = fmt.Fprintln(c, n.Name)
					}
				}
			}()
		}
	}()
}

// until waits for ok to return nil; it fails the test after a minute.
func (s *stand) until(what string, ok func() error) {
	s.t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if err = ok(); err == nil {
			return
		}
		wait(20 * time.Millisecond)
	}
	s.t.Fatalf("%s: %v", what, err)
}

// wait lets real processes do something.
func wait(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	<-ctx.Done()
}

// ask makes one connection to the service and returns who answered.
func (s *stand) ask(patience time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	c, err := s.client.DialContext(ctx, "tcp", s.service())
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetLinger(0) // thousands must not use up the client's ports
	if err := heard(c.(*net.TCPConn)); err != nil {
		return "", err
	}
	deadline, _ := ctx.Deadline()
	_ = c.SetDeadline(deadline)
	if _, err := fmt.Fprintln(c, "?"); err != nil {
		return "", err
	}
	return bufio.NewReader(c).ReadString('\n')
}

// serves waits until the service answers.
func (s *stand) serves() {
	s.t.Helper()
	s.until("the service answers", func() error {
		_, err := s.ask(time.Second)
		return err
	})
}

// packaged reads a file of packaging/, with what stands in it for this stand put in
// place: pairs of old and new.
func (s *stand) packaged(name string, oldnew ...string) string {
	s.t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../../packaging", name))
	s.must(err)
	text := string(raw)
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(text, oldnew[i]) {
			s.t.Fatalf("packaging/%s has no %q any more", name, oldnew[i])
		}
		text = strings.ReplaceAll(text, oldnew[i], oldnew[i+1])
	}
	return text
}
