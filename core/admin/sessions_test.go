// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/core"
)

func TestSessionsCrossTheSocket(t *testing.T) {
	n := testNode()
	c, _ := serve(t, n)
	client := netip.MustParsePrefix("192.0.2.0/24")
	list, err := c.Sessions(t.Context(), SessionsQuery{Service: "web", SessionFilter: core.SessionFilter{Backend: "web1", Client: client}, Limit: 5})
	if err != nil || len(list) != 1 || list[0].Sessions[0].ExpiresIn != 12.5 {
		t.Errorf("Sessions: %+v, %v", list, err)
	}
	res, err := c.Pin(t.Context(), "web", core.PinRequest{Client: client, Backend: "web1", Author: "alice", ForSeconds: 60})
	if err != nil || res.Configured != "web1" {
		t.Errorf("Pin: %+v, %v", res, err)
	}
	if _, err := c.Pin(t.Context(), "web", core.PinRequest{Client: client, Author: "alice"}); err != nil {
		t.Errorf("unpin: %v", err)
	}
	forgotten, err := c.Forget(t.Context(), "web", core.SessionFilter{Client: client}, "alice")
	if err != nil || forgotten != 3 {
		t.Errorf("Forget: %d, %v", forgotten, err)
	}
	want := []string{
		"sessions {Service:web SessionFilter:{Backend:web1 Client:192.0.2.0/24} Limit:5}",
		"pin web {Client:192.0.2.0/24 Backend:web1 Author:alice Reason: ForSeconds:60}",
		"pin web {Client:192.0.2.0/24 Backend: Author:alice Reason: ForSeconds:0}",
		"forget web {Backend: Client:192.0.2.0/24} alice",
	}
	if diff := cmp.Diff(want, n.called()); diff != "" {
		t.Errorf("calls (-want +got)\n%s", diff)
	}
}

// The plan in force is the same plan on the other side.
func TestInForceCrossesTheSocket(t *testing.T) {
	n := testNode()
	c, _ := serve(t, n)
	got, err := c.InForce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, _ := n.InForce(t.Context())
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSessionCommandsRefused(t *testing.T) {
	client := netip.MustParsePrefix("192.0.2.7/32")
	for _, tt := range []struct {
		name string
		ask  func(c *Client) error
		code string
		want string
	}{
		{"no such service", func(c *Client) error { _, err := c.Sessions(t.Context(), SessionsQuery{Service: "wbe"}); return err }, CodeUnknownService, `did you mean "web"?`},
		{"no such backend", func(c *Client) error {
			_, err := c.Sessions(t.Context(), SessionsQuery{Service: "web", SessionFilter: core.SessionFilter{Backend: "web2"}})
			return err
		}, CodeUnknownBackend, `did you mean "web1"?`},
		{"a negative limit", func(c *Client) error { _, err := c.Sessions(t.Context(), SessionsQuery{Limit: -1}); return err }, CodeBadRequest, "limit"},
		{"nobody pins", func(c *Client) error {
			_, err := c.Pin(t.Context(), "web", core.PinRequest{Client: client, Backend: "web1"})
			return err
		}, CodeBadRequest, "author is missing"},
		{"pin to nothing", func(c *Client) error {
			_, err := c.Pin(t.Context(), "web", core.PinRequest{Client: client, Backend: "web2", Author: "a"})
			return err
		}, CodeUnknownBackend, `did you mean "web1"?`},
		{"pin of nobody", func(c *Client) error {
			_, err := c.Pin(t.Context(), "web", core.PinRequest{Backend: "web1", Author: "a"})
			return err
		}, CodeBadRequest, "client is missing"},
		{"forget a crooked network", func(c *Client) error {
			_, err := c.Forget(t.Context(), "web", core.SessionFilter{Client: netip.MustParsePrefix("192.0.2.7/24")}, "a")
			return err
		}, CodeBadRequest, "write it as 192.0.2.0/24"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := testNode()
			c, _ := serve(t, n)
			err := tt.ask(c)
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
