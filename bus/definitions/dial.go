// SPDX-License-Identifier: Apache-2.0

package definitions

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/bus"
)

// defaultJoinTimeout is how long one server may take to let us in.
const defaultJoinTimeout = 2 * time.Second

// dial opens the connection of the store. It is used seldom, and apart from those of
// the bus, in the way of which it must not be.
func (s *Store) dial() (*nats.Conn, error) {
	opts, err := s.cfg.Login.Options()
	if err != nil {
		return nil, err
	}
	opts = append(opts, nats.Name("steelyard "+s.cfg.Node+" definitions"),
		nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.ReconnectWait(250*time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second), nats.Timeout(s.cfg.JoinTimeout), nats.ReconnectBufSize(-1),
		nats.PingInterval(5*time.Second), nats.MaxPingsOutstanding(2),
		nats.CustomInboxPrefix("_INBOX_"+bus.Escape(s.cfg.Node)),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				s.refused(err)
			}
		}))
	nc, err := nats.Connect(strings.Join(s.cfg.Servers, ","), opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w; see that its servers run and take the login", redacted(s.cfg.Servers), err)
	}
	return nc, nil
}

// redacted are the servers without what their URLs may say of passwords.
func redacted(servers []string) string {
	var out []string
	for _, s := range servers {
		if u, err := url.Parse(s); err == nil {
			u.User = nil
			s = u.String()
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}
