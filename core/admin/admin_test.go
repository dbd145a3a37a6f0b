// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// patience is how long a test waits for what should come at once.
const patience = 30 * time.Second

// A fakeNode is a steelyard without a kernel.
type fakeNode struct {
	view      core.NodeView
	decisions []core.Decision
	err       error // returned by everything but Subscribe

	mu       sync.Mutex
	calls    []string                      // guarded by mu
	recorded []core.Recorded               // guarded by mu
	subs     map[int]func(string, []byte)  // guarded by mu
	ids      int                           // guarded by mu
	onSub    func(fn func(string, []byte)) // called in Subscribe, if set
}

func (n *fakeNode) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, fmt.Sprintf(format, args...))
}

func (n *fakeNode) called() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls
}

func (n *fakeNode) View(context.Context) (core.NodeView, error) { return n.view, n.err }

func (n *fakeNode) Decisions(service string, last int) ([]core.Decision, error) {
	n.note("decisions %s %d", service, last)
	return n.decisions, n.err
}

var reloaded = core.ReloadResult{
	Changes: []core.ConfigChange{{Kind: core.KindService, Name: "web", Action: core.ActionChanged, Keys: []core.KeyChange{{Key: "policy", From: "rr", To: "weighted"}}}},
	Dropped: []core.Dropped{{Service: "web", Backend: "b1", Command: "drain by alice", Why: "web/b1 is not in the configuration any more"}},
}

func (n *fakeNode) Reload(context.Context) (core.ReloadResult, error) {
	n.note("reload")
	return reloaded, n.err
}

func (n *fakeNode) Stop(_ context.Context, flush bool) error {
	n.note("stop %t", flush)
	return n.err
}

func (n *fakeNode) Override(_ context.Context, id core.BackendID, r core.OverrideRequest) (core.OverrideResult, error) {
	n.note("override %s %+v", id, r)
	return core.OverrideResult{Backend: id.String(), Decision: 8, Outcome: core.Applied}, n.err
}

func (n *fakeNode) Cut(_ context.Context, id core.BackendID) (int, error) {
	n.note("cut %s", id)
	return 12, n.err
}

func (n *fakeNode) InForce(context.Context) (core.InForce, error) {
	t := core.Simple(netip.MustParseAddrPort("192.0.2.10:80"), core.TCP)
	hop := core.Hop{MAC: [6]byte{2, 0, 0, 0, 0, 1}, Own: [6]byte{2, 0, 0, 0, 0, 2}, Device: "eth0"}
	return core.InForce{Node: "lb1", Plan: core.Plan{Services: []core.ServicePlan{{Name: "web", Traffic: &t,
		Backends: []core.BackendPlan{{Name: "web1", Addr: netip.MustParseAddrPort("10.0.0.1:80"), Slots: core.Slots, Alive: true, Forwarding: core.DSR, Hop: hop}}}}}}, n.err
}

func (n *fakeNode) Sessions(_ context.Context, q SessionsQuery) ([]core.SessionsView, error) {
	n.note("sessions %+v", q)
	return []core.SessionsView{{Service: "web", Sessions: []core.Session{{Client: netip.MustParsePrefix("192.0.2.7/32"), Backend: "web1", ExpiresIn: 12.5}}}}, n.err
}

func (n *fakeNode) Pin(_ context.Context, service string, r core.PinRequest) (core.PinResult, error) {
	n.note("pin %s %+v", service, r)
	return core.PinResult{Service: service, Configured: "web1"}, n.err
}

func (n *fakeNode) Forget(_ context.Context, service string, f core.SessionFilter, author string) (int, error) {
	n.note("forget %s %+v %s", service, f, author)
	return 3, n.err
}

func (*fakeNode) Pushed(context.Context) string { return "the NATS refused it" }

func (n *fakeNode) Push(source string, s core.Sample) error {
	if s.Backend.Backend == "refused" {
		return errors.New("its unit is wrong")
	}
	n.note("push %s %s %s %v", source, s.Backend.Backend, s.Probe, s.Metrics)
	return nil
}

func (n *fakeNode) Recordings(service string, cursor uint64) ([]core.Recorded, uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []core.Recorded
	for _, r := range n.recorded[cursor:] {
		if service == "" || service == r.Snapshot.Service {
			out = append(out, r)
		}
	}
	return out, uint64(len(n.recorded))
}

func (n *fakeNode) FollowRecordings(service string) (stop func()) {
	n.note("follow %s", service)
	return func() { n.note("no longer %s", service) }
}

func (n *fakeNode) record(r core.Recorded) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.recorded = append(n.recorded, r)
}

func (n *fakeNode) Subscribe(pattern string, fn func(string, []byte)) (func(), error) {
	if pattern == "bad" {
		return nil, errors.New(`pattern "bad": unknown class`)
	}
	n.note("subscribe %s", pattern)
	n.mu.Lock()
	n.ids++
	id := n.ids
	if n.subs == nil {
		n.subs = map[int]func(string, []byte){}
	}
	n.subs[id] = fn
	n.mu.Unlock()
	if n.onSub != nil {
		n.onSub(fn)
	}
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.subs, id)
	}, nil
}

func (n *fakeNode) subscribers() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.subs)
}

func testNode() *fakeNode {
	return &fakeNode{
		view: core.NodeView{Node: "lb1", Version: "v0.1", Services: []core.ServiceView{
			{Name: "web", VIP: "192.0.2.10:80", Backends: []core.BackendView{{Name: "web1", Share: 0.5}}}, {Name: "dns"}}},
		decisions: []core.Decision{{Seq: 7, Service: "web", Backends: []core.BackendDecision{{Backend: "web1", Share: 0.5}}}},
	}
}

// serve runs a server and returns a client of it and a function that ends it
// and waits.
func serve(t *testing.T, n NodeInterface) (*Client, func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "control.sock")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1) // one result
	go func() { ended <- (&Server{Path: path, Node: n}).Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(patience):
				t.Error("the server does not end")
			}
		})
	}
	t.Cleanup(stop)
	waitSocket(t, path, ended)
	return NewClient(path), stop
}

func waitSocket(t *testing.T, path string, ended <-chan error) {
	t.Helper()
	c := NewClient(path)
	end := time.Now().Add(patience)
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		if conn, err := c.dial(t.Context()); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case err := <-ended:
			t.Fatalf("server ended: %v", err)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("no socket at %s", path)
		}
	}
}

func TestViews(t *testing.T) {
	n := testNode()
	c, _ := serve(t, n)
	ctx := t.Context()
	node, err := c.Node(ctx)
	if diff := cmp.Diff(n.view, node); err != nil || diff != "" {
		t.Errorf("Node: %v (-want +got)\n%s", err, diff)
	}
	svc, err := c.Service(ctx, "web")
	if diff := cmp.Diff(n.view.Services[0], svc); err != nil || diff != "" {
		t.Errorf("Service: %v (-want +got)\n%s", err, diff)
	}
	list, err := c.Decisions(ctx, "web", 3)
	if diff := cmp.Diff(n.decisions, list); err != nil || diff != "" {
		t.Errorf("Decisions: %v (-want +got)\n%s", err, diff)
	}
	v, err := c.Version(ctx)
	if err != nil || v.Version != "v0.1" || v.Go == "" {
		t.Errorf("Version: %+v, %v", v, err)
	}
	if diff := cmp.Diff([]string{"decisions web 3"}, n.called()); diff != "" {
		t.Errorf("calls (-want +got)\n%s", diff)
	}
}

func TestChanges(t *testing.T) {
	n := testNode()
	c, _ := serve(t, n)
	res, err := c.Reload(t.Context())
	if diff := cmp.Diff(reloaded, res); diff != "" {
		t.Errorf("reload (-want +got)\n%s", diff)
	}
	for _, err := range []error{err, c.Stop(t.Context(), false), c.Stop(t.Context(), true)} {
		if err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{"reload", "stop false", "stop true"}, n.called()); diff != "" {
		t.Errorf("calls (-want +got)\n%s", diff)
	}
}

// badFiles is an error of a configuration.
type badFiles struct{ error }

func (badFiles) ConfigInvalid() bool { return true }

func TestErrorsCrossTheSocket(t *testing.T) {
	ctx := t.Context()
	tests := []struct {
		name string
		err  error // of the node
		ask  func(*Client) error
		want Error
	}{
		{"did you mean", nil, func(c *Client) error { _, err := c.Service(ctx, "wbe"); return err },
			Error{Status: 404, Code: CodeUnknownService, Message: `no service is called "wbe"`, Hint: `did you mean "web"?`}},
		{"no service like it", nil, func(c *Client) error { _, err := c.Decisions(ctx, "smtp/x", 1); return err },
			Error{Status: 404, Code: CodeUnknownService, Message: `no service is called "smtp/x"`, Hint: "there are web, dns"}},
		{"a name with a slash", nil, func(c *Client) error { _, err := c.Service(ctx, "a/b c"); return err },
			Error{Status: 404, Code: CodeUnknownService, Message: `no service is called "a/b c"`, Hint: "there are web, dns"}},
		{"too many decisions", nil, func(c *Client) error { _, err := c.Decisions(ctx, "web", 1e6); return err },
			Error{Status: 400, Code: CodeBadRequest, Message: `last: "1000000", want 1 to 1000`}},
		{"no service", nil, func(c *Client) error { _, err := c.Decisions(ctx, "", 1); return err },
			Error{Status: 400, Code: CodeBadRequest, Message: "service is missing"}},
		{"reload refused", errors.New("a.yaml:3:1: error: unknown key"), func(c *Client) error { _, err := c.Reload(ctx); return err },
			Error{Status: 422, Code: CodeReloadFailed, Message: "a.yaml:3:1: error: unknown key", Hint: "the configuration before stays in force"}},
		{"reload refused for its files", fmt.Errorf("reload: %w", badFiles{errors.New("a.yaml:3:1: error: unknown key")}), func(c *Client) error { _, err := c.Reload(ctx); return err },
			Error{Status: 422, Code: CodeInvalid, Message: "reload: a.yaml:3:1: error: unknown key", Hint: "the configuration before stays in force"}},
		{"the node's own words", &Error{Code: "config_invalid", Message: "m", Hint: "h"}, func(c *Client) error { _, err := c.Reload(ctx); return err },
			Error{Status: 422, Code: "config_invalid", Message: "m", Hint: "h"}},
		{"node is busy", fmt.Errorf("ask engine: %w", context.DeadlineExceeded), func(c *Client) error { _, err := c.Node(ctx); return err },
			Error{Status: 503, Code: CodeTimeout, Message: "ask engine: context deadline exceeded", Hint: "the daemon is busy or about to stop; try again"}},
		{"bad pattern", nil, func(c *Client) error { return c.Monitor(ctx, "bad", nil) },
			Error{Status: 400, Code: CodeBadRequest, Message: `pattern "bad": unknown class`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := testNode()
			n.err = tt.err
			c, _ := serve(t, n)
			var e *Error
			if err := tt.ask(c); !errors.As(err, &e) {
				t.Fatalf("error %v of type %T, want *Error", err, err)
			}
			got := Error{Status: e.Status, Code: e.Code, Message: e.Message, Hint: e.Hint}
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale.sock")
	leaveSocket(t, stale)
	for _, path := range []string{filepath.Join(dir, "none.sock"), stale, filepath.Join(dir, "no", "dir.sock")} {
		_, err := NewClient(path).Node(t.Context())
		var e *Error
		if !errors.Is(err, ErrUnreachable) || !errors.As(err, &e) || e.Hint == "" || e.Code != CodeUnreachable {
			t.Errorf("%s: %v, want ErrUnreachable with a hint", path, err)
		}
	}
	// The error of a socket that may not be used, without needing a second user.
	err := NewClient("x").explain(&os.PathError{Op: "connect", Path: "x", Err: os.ErrPermission})
	if !errors.Is(err, ErrPermission) || errors.Is(err, ErrUnreachable) || err.Hint == "" {
		t.Errorf("%v, want ErrPermission with a hint", err)
	}
}
