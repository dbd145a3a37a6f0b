// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/crypto/bcrypt"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
)

// A password with all that would need quoting, had it to be quoted.
const oddPassword = `p"a\s$s {w}#\n`

func listening(t *testing.T, users ...bus.User) *bus.Bus {
	t.Helper()
	return bustest.StartWith(t, bus.Options{Node: bustest.Node, Listen: "127.0.0.1:0", Users: users})
}

// dial joins over TCP as a user and returns the connection and the refusals
// that the server sends, at most 16 of them.
func dial(t *testing.T, b *bus.Bus, user, password string) (*nats.Conn, <-chan error) {
	t.Helper()
	refusals := make(chan error, 16)
	nc, err := nats.Connect("nats://"+b.ListenAddr().String(), nats.UserInfo(user, password), nats.CustomInboxPrefix("_INBOX_"+user),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusals <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc, refusals
}

func metricBody(src string) []byte {
	return fmt.Appendf(nil, `{"v":1,"src":%q,"ts":%q,"service":"web","backend":"web1","probe":"load","metrics":{"cpu":{"value":0.4,"unit":"ratio"}}}`,
		src, time.Now().Format(time.RFC3339Nano))
}

func TestMonitorFeedsAndReads(t *testing.T) {
	b := listening(t, bus.User{Name: "zabbix", Password: oddPassword})
	got := collect(t, b)
	nc, _ := dial(t, b, "zabbix", oddPassword)
	events, err := nc.SubscribeSync("steelyard.v1.event.>")
	if err != nil {
		t.Fatal(err)
	}
	id := core.BackendID{Service: "web", Backend: "web1"}
	if err := nc.Publish(bus.MetricSubject("zabbix", id, "load"), metricBody("zabbix")); err != nil {
		t.Fatal(err)
	}
	if s := next(t, got); s.Node != "zabbix" || s.Role != core.MetricRole || s.Metrics[0].Value != 0.4 {
		t.Errorf("got %+v", s)
	}
	if err := b.PublishEvent(core.Event{Severity: core.Info, Topic: "x", At: time.Now(), Message: "hello"}); err != nil {
		t.Fatal(err)
	}
	m, err := events.NextMsg(patience)
	if err != nil || !strings.Contains(string(m.Data), `"message":"hello"`) {
		t.Errorf("event: %v, %v", m, err)
	}
}

// A monitor that floods the bus and invents sources may lose its own messages;
// it neither crowds out nor delays what our own probes learn.
func TestMonitorCannotDrownProbes(t *testing.T) {
	b := listening(t, bus.User{Name: "zabbix", Password: oddPassword})
	own := make(chan core.Sample, 1<<12)
	cancel, err := b.SubscribeSamples(func(s core.Sample) {
		if s.Node == bustest.Node {
			own <- s
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	nc, _ := dial(t, b, "zabbix", oddPassword)
	id := core.BackendID{Service: "web", Backend: "web1"}
	flood := func() {
		for i := range 40_000 {
			body := fmt.Appendf(nil, `{"v":1,"src":"zabbix","inst":"i%d","seq":1,"ts":%q,"service":"web","backend":"web1","probe":"load","value":1}`,
				i, time.Now().Format(time.RFC3339Nano))
			if err := nc.Publish(bus.MetricSubject("zabbix", id, "load"), body); err != nil {
				t.Error(err)
				return
			}
		}
		if err := nc.Flush(); err != nil {
			t.Error(err)
		}
	}
	flood() // every source that there is room for, before our own first sample
	done := make(chan struct{})
	go func() { defer close(done); flood() }()
	slowest := time.Duration(0)
	for i := uint64(1); ; i++ {
		start := time.Now()
		if err := b.PublishSample(sample(i)); err != nil {
			t.Fatal(err)
		}
		if s := next(t, own); s.Seq != i {
			t.Fatalf("sample %d came, want %d: some were lost", s.Seq, i)
		}
		slowest = max(slowest, time.Since(start))
		select {
		case <-done:
		default:
			continue
		}
		break
	}
	// No limit on the time: the flood takes every core there is. Behind it in one
	// queue, samples are lost, and next fails.
	t.Logf("slowest of our own samples: %v; %+v", slowest, b.Stats())
}

func TestMonitorIsHeldToItsPermissions(t *testing.T) {
	b := listening(t, bus.User{Name: "zabbix", Password: "secret"},
		bus.User{Name: "viewer", Password: "secret", Publish: []string{}, Subscribe: []string{"health.>"}})
	all := make(chan string, 16)
	if _, err := b.Subscribe(">", func(subject string, _ []byte) { all <- subject }); err != nil {
		t.Fatal(err)
	}
	id := core.BackendID{Service: "web", Backend: "web1"}
	tests := []struct{ user, publish, subscribe string }{
		{user: "zabbix", publish: bus.MetricSubject("nagios", id, "load")},
		{user: "zabbix", publish: bus.ProbeSubject(id, "http", bustest.Node)},
		{user: "zabbix", publish: bus.HealthSubject(id)},
		{user: "zabbix", publish: "$SYS.REQ.SERVER.PING"},
		{user: "zabbix", publish: "$JS.API.INFO"},
		{user: "zabbix", subscribe: ">"},
		{user: "zabbix", subscribe: "$SYS.>"},
		{user: "zabbix", subscribe: "_INBOX_lb1.>"},
		{user: "viewer", publish: bus.MetricSubject("viewer", id, "load")},
		{user: "viewer", subscribe: "steelyard.v1.probe.>"},
	}
	for _, tt := range tests {
		t.Run(tt.user+" "+tt.publish+tt.subscribe, func(t *testing.T) {
			nc, refusals := dial(t, b, tt.user, "secret")
			var err error
			if tt.publish != "" {
				err = nc.Publish(tt.publish, metricBody("zabbix"))
			} else {
				_, err = nc.SubscribeSync(tt.subscribe)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := next(t, refusals); !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("refusal %v, want a permissions violation", err)
			}
		})
	}
	select {
	case s := <-all:
		t.Errorf("message on %s came through", s)
	default:
	}
}

// TestMonitorCannotSpeakForAnother: the permission pins the subject, the check
// of the body against it does the rest.
func TestMonitorCannotSpeakForAnother(t *testing.T) {
	b := listening(t, bus.User{Name: "zabbix", Password: "secret"})
	got := collect(t, b)
	nc, _ := dial(t, b, "zabbix", "secret")
	subject := bus.MetricSubject("zabbix", core.BackendID{Service: "web", Backend: "web1"}, "load")
	for _, body := range [][]byte{metricBody("lb1"), []byte("oops"), metricBody("zabbix")} {
		if err := nc.Publish(subject, body); err != nil {
			t.Fatal(err)
		}
	}
	if s := next(t, got); s.Node != "zabbix" {
		t.Errorf("sample of %s came through", s.Node)
	}
	if s := b.Stats(); s.Mismatched != 1 || s.Invalid != 1 || s.Received != 1 {
		t.Errorf("stats %+v, want 1 mismatched, 1 invalid, 1 received", s)
	}
}

// TestNobodySpeaksForThisNode: even a user who may publish probes, such as
// another node, cannot do so in our name.
func TestNobodySpeaksForThisNode(t *testing.T) {
	b := listening(t, bus.User{Name: "lb2", Password: "secret", Publish: []string{"probe.>"}})
	got := collect(t, b)
	nc, _ := dial(t, b, "lb2", "secret")
	id := core.BackendID{Service: "web", Backend: "web1"}
	for _, node := range []string{bustest.Node, "lb2"} {
		body := fmt.Appendf(nil, `{"v":1,"src":%q,"ts":%q,"service":"web","backend":"web1","probe":"alive","role":"health","ok":false}`,
			node, time.Now().Format(time.RFC3339Nano))
		if err := nc.Publish(bus.ProbeSubject(id, "alive", node), body); err != nil {
			t.Fatal(err)
		}
	}
	if s := next(t, got); s.Node != "lb2" {
		t.Errorf("a sample in the name of %s came through", s.Node)
	}
	if s := b.Stats(); s.Mismatched != 1 {
		t.Errorf("stats %+v, want 1 mismatched", s)
	}
}

// TestMonitorIsNoProbe: a monitor may have this node's name, but what it says is a metric
// and no more, whatever probe it calls itself.
func TestMonitorIsNoProbe(t *testing.T) {
	b := listening(t, bus.User{Name: bustest.Node, Password: "secret"})
	got := collect(t, b)
	nc, _ := dial(t, b, bustest.Node, "secret")
	id := core.BackendID{Service: "web", Backend: "web1"}
	body := fmt.Appendf(nil, `{"v":1,"src":%q,"ts":%q,"service":"web","backend":"web1","probe":"check","type":"exec","code":"PROCOK","admin":"maint","metrics":{"weight":{"value":0,"unit":"count"}}}`,
		bustest.Node, time.Now().Format(time.RFC3339Nano))
	if err := nc.Publish(bus.MetricSubject(bustest.Node, id, "check"), body); err != nil {
		t.Fatal(err)
	}
	if s := next(t, got); s.Type != "" || s.Code != "" || s.Admin != "" || len(s.Metrics) != 1 {
		t.Errorf("it came through as %+v", s)
	}
}

func TestWhoMayComeIn(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	b := listening(t, bus.User{Name: "hashed", Password: core.Secret(hash)}, bus.User{Name: "plain", Password: "secret"})
	tests := []struct {
		user, password string
		ok             bool
	}{
		{"hashed", "secret", true}, {"hashed", string(hash), false}, {"plain", "secret", true},
		{"plain", "", false}, {"nobody", "secret", false}, {"", "", false}, {"steelyard-internal", "secret", false},
	}
	for _, tt := range tests {
		nc, err := nats.Connect("nats://"+b.ListenAddr().String(), nats.UserInfo(tt.user, tt.password))
		if (err == nil) != tt.ok {
			t.Errorf("%q with %q: error %v, want in: %t", tt.user, tt.password, err, tt.ok)
		}
		if err == nil {
			nc.Close()
		}
	}
}

// TestShellScriptPublishes speaks the protocol by hand, as four lines of shell do.
func TestShellScriptPublishes(t *testing.T) {
	b := listening(t, bus.User{Name: "zabbix", Password: "secret"})
	got := collect(t, b)
	c, err := net.Dial("tcp", b.ListenAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	body := metricBody("zabbix")
	fmt.Fprintf(c, "CONNECT {\"user\":\"zabbix\",\"pass\":\"secret\",\"verbose\":false}\r\n"+
		"PUB steelyard.v1.metric.zabbix.web.web1.load %d\r\n%s\r\nPING\r\n", len(body), body)
	for r := bufio.NewScanner(c); ; {
		if !r.Scan() || strings.HasPrefix(r.Text(), "-ERR") {
			t.Fatalf("server said %q, %v", r.Text(), r.Err())
		}
		if r.Text() == "PONG" {
			break
		}
	}
	if s := next(t, got); s.Node != "zabbix" {
		t.Errorf("got %+v", s)
	}
}

func TestPortTakenIsNoReasonToStop(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := bustest.StartWith(t, bus.Options{Node: bustest.Node, Listen: l.Addr().String(), Users: []bus.User{{Name: "a", Password: "b"}}})
	if err := b.ListenErr(); err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("ListenErr: %v, want the address and the cause", err)
	}
	if a := b.ListenAddr(); a != nil {
		t.Errorf("listens on %v", a)
	}
	got := collect(t, b)
	if err := b.PublishSample(sample(1)); err != nil {
		t.Fatal(err)
	}
	next(t, got)
}

func TestOptionsAreChecked(t *testing.T) {
	user := []bus.User{{Name: "a", Password: "b"}}
	tests := []struct {
		name string
		o    bus.Options
		want string
	}{
		{"no node", bus.Options{}, "node name is empty"},
		{"open to the world", bus.Options{Node: "n", Listen: "0.0.0.0:4222", Users: user}, "listen 0.0.0.0:4222: not a loopback address"},
		{"all addresses", bus.Options{Node: "n", Listen: ":4222", Users: user}, "not a loopback address"},
		{"no users", bus.Options{Node: "n", Listen: "127.0.0.1:0"}, "no users"},
		{"users for nothing", bus.Options{Node: "n", Users: user}, "nothing listens"},
		{"no port", bus.Options{Node: "n", Listen: "127.0.0.1", Users: user}, "want ADDRESS:PORT"},
		{"port too large", bus.Options{Node: "n", Listen: "127.0.0.1:65536", Users: user}, "want 0 to 65535"},
		{"half a TLS", bus.Options{Node: "n", Listen: "127.0.0.1:0", Users: user, TLS: bus.TLSFiles{Cert: "x"}}, "both a certificate and a key"},
		{"no such certificate", bus.Options{Node: "n", Listen: "127.0.0.1:0", Users: user, TLS: bus.TLSFiles{Cert: "/nowhere/c", Key: "/nowhere/k"}}, "load TLS certificate /nowhere/c"},
		{"user with a dot", bus.Options{Node: "n", Listen: "127.0.0.1:0", Users: []bus.User{{Name: "a.b", Password: "x"}}}, `user "a.b"`},
		{"user without a password", bus.Options{Node: "n", Listen: "127.0.0.1:0", Users: []bus.User{{Name: "a"}}}, "user a: password is empty"},
		{"our own user", bus.Options{Node: "n", Listen: "127.0.0.1:0", Users: []bus.User{{Name: "steelyard-internal", Password: "x"}}}, "name is taken"},
		{"unknown subject", bus.Options{Node: "n", Listen: "127.0.0.1:0", Users: []bus.User{{Name: "a", Password: "b", Publish: []string{"metrics.a.>"}}}}, `user a: pattern "metrics.a.>"`},
		{"both kinds", bus.Options{Node: "n", Servers: []string{"nats://127.0.0.1"}, Listen: "127.0.0.1:0"}, "belong to the embedded server"},
		{"ttl", bus.Options{Node: "n", SampleTTL: -time.Second}, "sample time to live"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := bus.Start(t.Context(), tt.o)
			if err == nil {
				b.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestTLSListener(t *testing.T) {
	files, pool := certificate(t)
	b := bustest.StartWith(t, bus.Options{Node: bustest.Node, Listen: "0.0.0.0:0", TLS: files, Users: []bus.User{{Name: "a", Password: "b"}}})
	url := fmt.Sprintf("nats://127.0.0.1:%d", b.ListenAddr().(*net.TCPAddr).Port)
	nc, err := nats.Connect(url, nats.UserInfo("a", "b"), nats.RootCAs(pool))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.TLSConnectionState(); err != nil {
		t.Error(err)
	}
	got := collect(t, b)
	if err := b.PublishSample(sample(1)); err != nil { // the inside needs no TLS
		t.Fatal(err)
	}
	next(t, got)
}

func certificate(t *testing.T) (files bus.TLSFiles, certFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files = bus.TLSFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for path, b := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: cert}, files.Key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files, files.Cert
}
