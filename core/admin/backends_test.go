// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

var web1 = core.BackendID{Service: "web", Backend: "web1"}

func TestOverrideCrossesTheSocket(t *testing.T) {
	n := testNode()
	c, _ := serve(t, n)
	res, err := c.Override(t.Context(), web1, core.OverrideRequest{Kind: core.OverrideWeight, Weight: 50, Author: "alice", Reason: "try it", ForSeconds: 1800})
	if want := (core.OverrideResult{Backend: "web/web1", Decision: 8, Outcome: core.Applied}); err != nil || res != want {
		t.Errorf("Override: %+v, %v; want %+v", res, err, want)
	}
	if cut, err := c.Cut(t.Context(), web1); err != nil || cut != 12 {
		t.Errorf("Cut: %d, %v; want 12", cut, err)
	}
	want := []string{"override web/web1 {Kind:weight Weight:50 Author:alice Reason:try it ForSeconds:1800}", "cut web/web1"}
	if diff := cmp.Diff(want, n.called()); diff != "" {
		t.Errorf("calls (-want +got)\n%s", diff)
	}
}

// What is wrong with a command is said before the node is asked.
func TestOverrideRefused(t *testing.T) {
	drain := core.OverrideRequest{Kind: core.OverrideDrain, Author: "alice"}
	for _, tt := range []struct {
		name string
		id   core.BackendID
		r    core.OverrideRequest
		code string
		want string // in message and hint
	}{
		{"no such backend", core.BackendID{Service: "web", Backend: "web2"}, drain, CodeUnknownBackend, `service web has no backend "web2"; hint: did you mean "web1"?`},
		{"nothing like it", core.BackendID{Service: "web", Backend: "zzzzzzz"}, drain, CodeUnknownBackend, "hint: it has web1"},
		{"no such service", core.BackendID{Service: "wbe", Backend: "web1"}, drain, CodeUnknownService, `did you mean "web"?`},
		{"a name that is a path", core.BackendID{Service: "web", Backend: "../web/web1"}, drain, CodeUnknownBackend, "has no backend"},
		{"nobody", web1, core.OverrideRequest{Kind: core.OverrideDrain}, CodeBadRequest, "drain web/web1: author is missing"},
		{"too heavy", web1, core.OverrideRequest{Kind: core.OverrideWeight, Weight: 1001, Author: "a"}, CodeBadRequest, "want 0 to 1000"},
		{"too long", web1, core.OverrideRequest{Kind: core.OverrideDrain, Author: "a", Reason: strings.Repeat("a", maxRequest)}, CodeBadRequest, "want at most 16384 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := testNode()
			c, _ := serve(t, n)
			_, err := c.Override(t.Context(), tt.id, tt.r)
			var e *Error
			if !errors.As(err, &e) || e.Code != tt.code || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s and %q", err, tt.code, tt.want)
			}
			if len(n.called()) > 0 {
				t.Errorf("the node was asked: %v", n.called())
			}
		})
	}
}

func TestReadOverride(t *testing.T) {
	for body, want := range map[string]string{
		`{"kind":"drain","author":"a"}`:          "",
		`{"kind":"drain","author":"a"} {}`:       "more than one value",
		`{"kind":"drain","author":"a","fro":30}`: `unknown field "fro"`,
		``:                                       "EOF",
		`{"kind":"drain","weight":-1}`:           "cannot unmarshal",
	} {
		_, err := readOverride(strings.NewReader(body))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", body, err, want)
		}
	}
}

// After a reload that could not be undone nobody is told that all is as before.
func TestReloadThatIsNotUndone(t *testing.T) {
	n := testNode()
	n.err = halfUndone{errors.New("no memory")}
	c, _ := serve(t, n)
	if _, err := c.Reload(t.Context()); err == nil || strings.Contains(err.Error(), "stays in force") {
		t.Errorf("Reload: %v", err)
	}
}

type halfUndone struct{ error }

func (halfUndone) NotUndone() bool { return true }
