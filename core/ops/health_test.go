// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

func get(s *Server, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestReadiness(t *testing.T) {
	fresh := func(v *core.NodeView) { v.StartedAt = v.At.Add(-2 * time.Second) }
	unprobed := func(v *core.NodeView) {
		b := &v.Services[0].Backends[1]
		b.Health, b.State, b.Probes[0].At = core.Unknown, core.StateUnknown, time.Time{}
	}
	tests := map[string]struct {
		change func(*core.NodeView)
		query  string
		want   int
		line   string // in the verbose answer
	}{
		"all is well":       {func(*core.NodeView) {}, "", 200, "[+]kernel: generation 412 carries the plan\n"},
		"kernel refuses":    {func(v *core.NodeView) { v.Kernel.LastError = "no buffer space" }, "", 503, "[-]kernel: no buffer space\n"},
		"no kernel":         {func(v *core.NodeView) { v.Roles = []string{"probe"}; v.Kernel = core.KernelView{} }, "", 200, "[+]kernel: this node carries no traffic"},
		"excluded":          {func(v *core.NodeView) { v.Kernel.LastError = "no buffer space" }, "exclude=kernel", 200, "[!]kernel: no buffer space\n"},
		"first round":       {func(v *core.NodeView) { fresh(v); unprobed(v) }, "", 503, "[-]probes: no result yet of svc0000/web01\n"},
		"a new backend":     {unprobed, "", 200, "[+]probes: no result yet of svc0000/web01\n"},
		"cannot be probed":  {func(v *core.NodeView) { fresh(v); unprobed(v); v.Services[0].Backends[1].Probes[0].At = epoch }, "", 200, "[+]probes: every"},
		"not probed at all": {func(v *core.NodeView) { fresh(v); unprobed(v); v.Services[0].Backends[1].Probes = nil }, "", 200, "[+]probes: every"},
		"bus is away":       {func(v *core.NodeView) { v.Bus.Connected = false }, "", 200, "[!]bus: the server is away"},
		"bus is required":   {func(v *core.NodeView) { v.Bus.Connected = false }, "require=bus", 503, "[-]bus: the server is away"},
		"in no group":       {func(v *core.NodeView) { v.Cluster = nil }, "require=cluster", 200, "[+]cluster: this node is in no group\n"},
		"a silent node":     {func(*core.NodeView) {}, "", 200, "[!]cluster: group edge: 1 of 2 nodes live, lb2 silent\n"},
		"a whole group":     {func(v *core.NodeView) { v.Cluster.Members[1].State = core.MemberLive }, "require=cluster", 200, "[+]cluster: group edge: 2 of 2 nodes live\n"},
		"one that left":     {func(v *core.NodeView) { v.Cluster.Members[1].State = core.MemberLeft }, "require=cluster", 200, "[+]cluster: group edge: 1 of 2 nodes live, lb2 left\n"},
		"two of one name": {func(v *core.NodeView) { v.Cluster.Members[1].State, v.Cluster.Members[1].Twin = core.MemberLive, true }, "require=cluster", 503,
			"[-]cluster: group edge: 2 of 2 nodes live; two nodes have the name lb2\n"},
		"nobody hears it":  {func(v *core.NodeView) { v.Cluster.Members[0].State = core.MemberDenied }, "require=cluster", 503, "[-]cluster: group edge: 0 of 2 nodes live, lb1 denied, lb2 silent\n"},
		"a refused reload": {func(v *core.NodeView) { v.ReloadError = "line 3" }, "", 200, "[!]reload: the last reload was refused: line 3\n"},
		"refused revision": {func(v *core.NodeView) { v.RevisionError = "revision 7 by ops refused" }, "", 200, "[!]reload: revision 7 by ops refused\n"},
		"a broken policy":  {func(v *core.NodeView) { v.Services[0].PolicyError = "trap" }, "", 200, "[!]policies: the last good weights hold for svc0000\n"},
		"it suspects":      {func(v *core.NodeView) { v.Probing.Suspect = "all at once" }, "require=self", 503, "[-]self: all at once\n"},
		"one bad service":  {func(v *core.NodeView) { v.Services[0].Error = "refused" }, "", 200, "[+]config: not in force as configured: svc0000\n"},
		"all are bad":      {func(v *core.NodeView) { v.Services[0].Error = "r"; v.Services[1].Error = "r" }, "", 503, "[-]config:"},
		"no service":       {func(v *core.NodeView) { v.Services = nil }, "", 200, "[+]config: 0 services"},
		"of a service":     {func(*core.NodeView) {}, "service=svc0001", 200, "[+]service svc0001: 2 of 2 backends get connections\n"},
		"nobody serves": {func(v *core.NodeView) {
			for i := range v.Services[0].Backends {
				v.Services[0].Backends[i].Slots = 0
			}
		}, "service=svc0000", 503, "[-]service svc0000: 0 of 2"},
		"another serves":  {func(v *core.NodeView) { v.Services[0].Backends[0].Slots = 0; v.Services[0].Backends[1].Slots = 0 }, "service=svc0001", 200, "[+]service svc0001"},
		"no such service": {func(*core.NodeView) {}, "service=nope", 503, "[-]service nope: no service is called that\n"},
		"no such check":   {func(*core.NodeView) {}, "exclude=nope", 400, "no check is called"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := populated(2, 2)
			tt.change(&v)
			s := fed(t, Config{Node: &fakeNode{view: v}})
			if w := get(s, "/readyz?"+tt.query); w.Code != tt.want {
				t.Errorf("/readyz: %d, want %d: %s", w.Code, tt.want, w.Body)
			} else if strings.Contains(w.Body.String(), "[") {
				t.Errorf("/readyz tells more than it should: %s", w.Body)
			}
			w := get(s, "/readyz?verbose&"+tt.query)
			if w.Code != tt.want || !strings.Contains(w.Body.String(), tt.line) {
				t.Errorf("/readyz?verbose: %d, want %d with %q:\n%s", w.Code, tt.want, tt.line, w.Body)
			}
		})
	}
}

func TestReadinessOfALoopThatHangs(t *testing.T) {
	s := fed(t, Config{Node: &fakeNode{hang: true}})
	s.within = 10 * time.Millisecond
	w := get(s, "/readyz?verbose&service=web")
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "[-]engine: context deadline exceeded\n") {
		t.Errorf("/readyz: %d %s", w.Code, w.Body)
	}
}

func TestNoChecksAreNotReady(t *testing.T) {
	if ready, text := verdict(nil, nil, nil); ready {
		t.Errorf("ready without a check: %s", text)
	}
}

// Who needs no password cannot keep the event loop busy.
func TestHealthIsCheap(t *testing.T) {
	node := &fakeNode{view: populated(1, 1)}
	s := fed(t, Config{Node: node})
	for range 1000 {
		get(s, "/healthz")
		get(s, "/readyz?service=svc0000")
	}
	if node.asked > 100 {
		t.Errorf("2000 requests cost %d views", node.asked)
	}
}
