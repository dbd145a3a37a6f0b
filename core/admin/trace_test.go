// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// Trace hangs for a probe called "never" until ctx ends.
func (n *fakeNode) Trace(ctx context.Context, id core.BackendID, probe string) (core.Trace, error) {
	n.note("trace %s %s", id, probe)
	if probe == "never" {
		<-ctx.Done()
		return core.Trace{}, errors.New("no sample came in time")
	}
	return core.Trace{Backend: id, Sample: core.SampleRef{Probe: probe, Node: "lb1", Seq: 7}, Conclusion: "so"}, nil
}

func TestTrace(t *testing.T) {
	view := core.NodeView{Services: []core.ServiceView{{Name: "web", Backends: []core.BackendView{{Name: "web1"}}}}}
	c, stop := serve(t, &fakeNode{view: view})
	defer stop()
	id := core.BackendID{Service: "web", Backend: "web1"}
	got, err := c.Trace(t.Context(), id, "alive", time.Second)
	if err != nil || got.Backend != id || got.Sample.Seq != 7 || got.Sample.Probe != "alive" {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, tt := range []struct {
		id      core.BackendID
		probe   string
		timeout time.Duration
		code    string
		text    string
	}{
		{core.BackendID{Service: "web", Backend: "web9"}, "", time.Second, CodeUnknownBackend, `no backend "web9"`},
		{core.BackendID{Service: "wob", Backend: "web1"}, "", time.Second, CodeUnknownService, `did you mean "web"`},
		{id, "never", 10 * time.Millisecond, CodeTraceFailed, "no sample came in time"},
		{id, "alive", 3 * time.Hour, CodeBadRequest, "want a time such as 30s"},
		{id, strings.Repeat("x", 300), time.Second, CodeBadRequest, "at most 253 bytes"},
	} {
		_, err := c.Trace(t.Context(), tt.id, tt.probe, tt.timeout)
		var e *Error
		if !errors.As(err, &e) || e.Code != tt.code || !strings.Contains(e.Error(), tt.text) || e.Status == http.StatusOK {
			t.Errorf("%s %s for %s: got %v, want %s with %q", tt.id, tt.probe, tt.timeout, err, tt.code, tt.text)
		}
	}
}
