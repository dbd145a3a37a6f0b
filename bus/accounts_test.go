// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
)

// A rawClient speaks the protocol by hand: a client library keeps its user from
// much of what an attacker tries.
type rawClient struct {
	net.Conn
	in *bufio.Reader
}

func rawDial(t *testing.T, b *bus.Bus, user, password string) *rawClient {
	t.Helper()
	c, err := net.Dial("tcp", b.ListenAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	r := &rawClient{c, bufio.NewReader(c)}
	fmt.Fprintf(c, "CONNECT {\"user\":%q,\"pass\":%q,\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n", user, password)
	return r
}

// say sends protocol lines and returns what the server has against them, and an
// error if it closes the connection.
func (c *rawClient) say(format string, args ...any) (refusals []string, err error) {
	if _, err := fmt.Fprintf(c, format+"\r\nPING\r\n", args...); err != nil {
		return nil, err
	}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return refusals, err
		}
		if strings.HasPrefix(line, "-ERR") {
			refusals = append(refusals, strings.TrimSpace(line))
		}
		if strings.HasPrefix(line, "PONG") {
			return refusals, nil
		}
	}
}

// TestOutsidersAreHeldToTheirSubjects tries everything that a user's lists do not name,
// and, so that silence means something, what they do name.
func TestOutsidersAreHeldToTheirSubjects(t *testing.T) {
	b := listening(t, bus.User{Name: "zabbix", Password: "secret"},
		bus.User{Name: "viewer", Password: "secret", Publish: []string{}, Subscribe: []string{"health.>"}},
		bus.User{Name: "nagios", Password: "secret", Subscribe: []string{}})
	through := make(chan string, 64)
	if _, err := b.Subscribe(">", func(subject string, _ []byte) { through <- subject }); err != nil {
		t.Fatal(err)
	}
	const pub, sub = "PUB %s 2\r\n{}", "SUB %s 1"
	tests := []struct {
		user, line string
		ok         bool
		subjects   []string
	}{
		{"zabbix", pub, false, []string{
			"steelyard.v1.metric.nagios.web.web1.load", "steelyard.v1.metric.nagios.web1.load",
			"steelyard.v1.metric.>", "steelyard.v1.metric.*.web.web1.load", "steelyard.v1.metric.zabbix", "steelyard.v1.>", ">", "*",
			"steelyard.v1.probe.web.web1.http.lb1", "steelyard.v1.weights.edge.web.lb1", "steelyard.v1.node.edge.lb1",
			"steelyard.v1.flows.edge.web.lb1", "steelyard.v1.health.web.web1", "steelyard.v1.commit.lb1",
			"steelyard.v1.decision.web", "steelyard.v1.event.info.x", "steelyard.v2.metric.zabbix.web1.load",
			"$JS.API.INFO", "$JS.API.STREAM.CREATE.x", "$SYS.REQ.SERVER.PING", "$SYS.ACCOUNT.x", "$KV.x.y", "$G.x",
			"_INBOX_lb1.x", "_INBOX_viewer.x", "_INBOX.x", "STEELYARD.v1.metric.zabbix.web1.load"}},
		{"zabbix", pub, true, []string{"steelyard.v1.metric.zabbix.web.web1.load", "steelyard.v1.metric.zabbix.web1.load"}},
		{"zabbix", "HPUB %s 12 14\r\nNATS/1.0\r\n\r\n{}", false, []string{"steelyard.v1.health.web.web1"}},
		{"zabbix", "PUB steelyard.v1.metric.zabbix.web1.load %s 2\r\n{}", true, []string{"steelyard.v1.health.web.web1"}}, // a reply subject sends nothing
		{"zabbix", sub, false, []string{">", "*", "*.>", "steelyard.>", "steelyard.*.>", "$SYS.>", "$JS.>", "$JS.EVENT.>",
			"_INBOX.>", "_INBOX_lb1.>", "_INBOX_viewer.>", "_INBOX_zabbix", "$KV.>"}},
		{"zabbix", "SUB %s group 1", false, []string{">", "steelyard.>", "_INBOX_lb1.>"}},
		{"zabbix", sub, true, []string{"steelyard.v1.>", "steelyard.v1.probe.>", "_INBOX_zabbix.x"}},
		{"viewer", pub, false, []string{"steelyard.v1.metric.viewer.web1.load", "steelyard.v1.health.web.web1", "x"}},
		{"viewer", sub, false, []string{"steelyard.v1.probe.>", "steelyard.v1.>", "steelyard.v1.*.web.web1", "steelyard.v1.metric.>", "steelyard.v1.event.>"}},
		{"viewer", "SUB %s group 1", false, []string{"steelyard.v1.probe.>", "steelyard.v1.>", "steelyard.v1.*.web.web1"}},
		{"viewer", sub, true, []string{"steelyard.v1.health.>", "steelyard.v1.health.web.*"}},
		{"viewer", "SUB %s group 2", true, []string{"steelyard.v1.health.>"}},
		{"nagios", sub, false, []string{"steelyard.v1.health.>", "steelyard.v1.metric.nagios.>", "steelyard.v1.>"}},
	}
	clients := map[string]*rawClient{}
	for _, tt := range tests {
		if clients[tt.user] == nil {
			clients[tt.user] = rawDial(t, b, tt.user, "secret")
		}
		for _, subject := range tt.subjects {
			refusals, err := clients[tt.user].say(tt.line, subject)
			if err != nil {
				t.Fatalf("%s, %q: %v", tt.user, fmt.Sprintf(tt.line, subject), err)
			}
			if refused := len(refusals) == 1 && strings.Contains(refusals[0], "Permissions Violation"); refused == tt.ok || len(refusals) > 1 {
				t.Errorf("%s, %q: the server says %q; may: %t", tt.user, fmt.Sprintf(tt.line, subject), refusals, tt.ok)
			}
		}
	}
	for range 3 {
		if s := next(t, through); !strings.HasPrefix(s, "steelyard.v1.metric.zabbix.") {
			t.Errorf("message on %s came through", s)
		}
	}
	select {
	case s := <-through:
		t.Errorf("message on %s came through, too", s)
	default:
	}
}

// TestProofs: every user has one way in, and no other opens.
func TestProofs(t *testing.T) {
	key, other := newKey(t), newKey(t)
	b := listening(t, bus.User{Name: "keyed", NKey: key.public}, bus.User{Name: "plain", Password: "secret"})
	url := "nats://" + b.ListenAddr().String()
	sign := func(k testKey) nats.SignatureHandler { return k.pair.Sign }
	tests := []struct {
		name string
		opts []nats.Option
		ok   bool
	}{
		{"its key", []nats.Option{nats.Nkey(key.public, sign(key))}, true},
		{"another key", []nats.Option{nats.Nkey(other.public, sign(other))}, false},
		{"its key, signed by another", []nats.Option{nats.Nkey(key.public, sign(other))}, false},
		{"its key, another nonce signed", []nats.Option{nats.Nkey(key.public, func([]byte) ([]byte, error) { return key.pair.Sign([]byte("old")) })}, false},
		{"its key and no signature", []nats.Option{nats.Nkey(key.public, func([]byte) ([]byte, error) { return nil, nil })}, false},
		{"the key's user by name", []nats.Option{nats.UserInfo("keyed", "")}, false},
		{"the public key as a password", []nats.Option{nats.UserInfo("keyed", key.public)}, false},
		{"the public key as a name", []nats.Option{nats.UserInfo(key.public, "secret")}, false},
		{"the right password with a wrong key", []nats.Option{nats.UserInfo("plain", "secret"), nats.Nkey(other.public, sign(other))}, false},
		{"a password", []nats.Option{nats.UserInfo("plain", "secret")}, true},
		{"no password", []nats.Option{nats.UserInfo("plain", "")}, false},
		{"nobody", nil, false},
		{"a token", []nats.Option{nats.Token("secret")}, false},
	}
	for _, tt := range tests {
		nc, err := nats.Connect(url, tt.opts...)
		if (err == nil) != tt.ok {
			t.Errorf("%s: error %v, want in: %t", tt.name, err, tt.ok)
		}
		if err == nil {
			nc.Close()
		}
	}
}

type testKey struct {
	pair         nkeys.KeyPair
	public, seed string
}

func newKey(t *testing.T) testKey {
	t.Helper()
	public, seed, err := bus.NewNKey()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.FromSeed([]byte(seed.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	return testKey{pair, public, seed.Reveal()}
}

// TestPayloadOfMonitors: who only feeds readings may not send what no reading can be;
// this process, and users who may publish more, send decisions of megabytes.
func TestPayloadOfMonitors(t *testing.T) {
	b := listening(t, bus.User{Name: "zabbix", Password: "secret"}, bus.User{Name: "lb2", Password: "secret", Publish: []string{"event.>"}})
	tests := []struct {
		user, subject string
		bytes         int
		ok            bool
	}{
		{"zabbix", "steelyard.v1.metric.zabbix.web1.load", bus.MaxSampleBytes, true},
		{"zabbix", "steelyard.v1.metric.zabbix.web1.load", bus.MaxSampleBytes + 1, false},
		{"lb2", "steelyard.v1.event.info.x", 1 << 20, true},
		{"lb2", "steelyard.v1.event.info.x", bus.MaxBodyBytes + 1, false},
	}
	for _, tt := range tests {
		_, err := rawDial(t, b, tt.user, "secret").say("PUB %s %d\r\n%s", tt.subject, tt.bytes, strings.Repeat(" ", tt.bytes))
		if (err == nil) != tt.ok {
			t.Errorf("%s sends %d bytes: %v, may: %t", tt.user, tt.bytes, err, tt.ok)
		}
	}
	// A token of one's own, with limits to one's liking, changes nothing.
	c := rawDial(t, b, "", "")
	pass := jwtWithoutLimits(t)
	fmt.Fprintf(c, "CONNECT {\"user\":\"zabbix\",\"pass\":\"secret\",\"verbose\":false,\"jwt\":%q}\r\n", pass)
	if _, err := c.say("PUB steelyard.v1.metric.zabbix.web1.load %d\r\n%s", 1<<20, strings.Repeat(" ", 1<<20)); err == nil {
		t.Error("a monitor with limits of its own sent a megabyte")
	}
	big := strings.Repeat("x", 1<<20)
	bustest.Expect(t, b, "event.>", func() {
		if err := b.PublishEvent(core.Event{Severity: core.Info, Topic: "x", At: time.Now(), Message: big}); err != nil {
			t.Fatal(err)
		}
	}, nil)
}

// TestConnectionsOfOneUser: a monitor that leaks connections locks out itself alone,
// until it closes some.
func TestConnectionsOfOneUser(t *testing.T) {
	b := listening(t, bus.User{Name: "leaky", Password: "secret"}, bus.User{Name: "other", Password: "secret"})
	var open []*rawClient
	refused := false
	for range 40 {
		c := rawDial(t, b, "leaky", "secret")
		if _, err := c.say("PUB steelyard.v1.metric.leaky.web1.load 0\r\n"); err != nil {
			refused = true
			break
		}
		open = append(open, c)
	}
	if !refused || len(open) != 32 {
		t.Fatalf("%d connections are open, want 32", len(open))
	}
	if _, err := rawDial(t, b, "other", "secret").say("SUB steelyard.v1.health.> 1"); err != nil {
		t.Errorf("another user: %v", err)
	}
	open[0].Close()
	eventually(t, "there is room again", func() bool {
		_, err := rawDial(t, b, "leaky", "secret").say("SUB steelyard.v1.health.> 1")
		return err == nil
	})
}

func TestConnectionsInAll(t *testing.T) {
	var users []bus.User
	for i := range 5 {
		users = append(users, bus.User{Name: fmt.Sprint("u", i), Password: "secret"})
	}
	b := listening(t, users...)
	in := 0
	for i := range 130 {
		if _, err := rawDial(t, b, fmt.Sprint("u", i%5), "secret").say("SUB steelyard.v1.health.> 1"); err == nil {
			in++
		}
	}
	// This process has two of the places.
	if in != 126 {
		t.Errorf("%d of 130 connections came in, want 126", in)
	}
	got := collect(t, b)
	if err := b.PublishSample(sample(1)); err != nil {
		t.Fatal(err)
	}
	next(t, got)
}

func TestSubscriptionsOfOneConnection(t *testing.T) {
	b := listening(t, bus.User{Name: "zabbix", Password: "secret"})
	c := rawDial(t, b, "zabbix", "secret")
	var lines strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&lines, "SUB steelyard.v1.health.s.b%d %d\r\n", i, i)
	}
	if refusals, err := c.say("%s", strings.TrimSuffix(lines.String(), "\r\n")); err != nil || len(refusals) > 0 {
		t.Fatalf("1000 subscriptions: %q, %v", refusals, err)
	}
	refusals, err := c.say("SUB steelyard.v1.health.s.more 1001")
	if len(refusals) == 0 && err == nil {
		t.Error("the 1001st subscription came through")
	}
}

// TestFloodDelaysNoDecision: however much a monitor sends, every decision arrives, and
// in order.
func TestFloodDelaysNoDecision(t *testing.T) {
	b := listening(t, bus.User{Name: "zabbix", Password: "secret"})
	collect(t, b)
	decisions := make(chan string, 1<<12)
	if _, err := b.Subscribe("decision.>", func(subject string, _ []byte) { decisions <- subject }); err != nil {
		t.Fatal(err)
	}
	nc, _ := dial(t, b, "zabbix", "secret")
	done := make(chan struct{})
	go func() {
		defer close(done)
		body := []byte(strings.Repeat(" ", 32<<10))
		for range 8000 { // 250 MB
			if err := nc.Publish("steelyard.v1.metric.zabbix.web1.load", body); err != nil {
				return // too much at a time for the client itself
			}
		}
		_ = nc.Flush()
	}()
	made := 0
	for flooding := true; flooding || made < 200; made++ {
		service := fmt.Sprint("s", made)
		if err := b.PublishDecision(core.Decision{Service: service}); err != nil {
			t.Fatal(err)
		}
		if s := next(t, decisions); s != bus.DecisionSubject(service) {
			t.Fatalf("got %s, want the decision of %s", s, service)
		}
		select {
		case <-done:
			flooding = false
		default:
		}
	}
	t.Logf("%d decisions during the flood; %+v", made, b.Stats())
}

// TestPlaintextAtTLSListener: no password is taken in clear where TLS is set.
func TestPlaintextAtTLSListener(t *testing.T) {
	files, _ := certificate(t)
	b := bustest.StartWith(t, bus.Options{Node: bustest.Node, Listen: "127.0.0.1:0", TLS: files, Users: []bus.User{{Name: "a", Password: "b"}}})
	if refusals, err := rawDial(t, b, "a", "b").say("SUB steelyard.v1.health.> 1"); err == nil {
		t.Errorf("came in without TLS; the server says %q", refusals)
	}
	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11} //nolint:gosec // it must not get in
	if nc, err := nats.Connect("tls://"+b.ListenAddr().String(), nats.UserInfo("a", "b"), nats.Secure(old)); err == nil {
		nc.Close()
		t.Error("came in with TLS 1.1")
	}
}
