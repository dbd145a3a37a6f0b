// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

// slowEvery is how often a slow subscriber is logged.
const slowEvery = 10 * time.Second

// connect opens one of the two connections. Samples go over "data" and all else
// over "control", so that a burst of samples delays no decision.
func (b *Bus) connect(name string, out *outbox) (*nats.Conn, error) {
	opts := b.clientOptions(name, out)
	url := strings.Join(b.opts.Servers, ",")
	if b.server != nil {
		url = ""
		opts = append(opts, nats.InProcessServer(b.server.srv), nats.UserInfo(internalUser, b.server.secret))
	} else {
		login, err := b.opts.Login.options()
		if err != nil {
			return nil, err
		}
		opts = append(opts, login...)
		// A server that is away, or refuses us now, must not stop the start.
		opts = append(opts, nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(),
			// A server that takes nothing is left and joined anew.
			nats.FlusherTimeout(flusherTimeout), nats.ReconnectOnFlusherError(), nats.PingInterval(pingEvery))
	}
	if name == dataConn {
		// Our own samples take the short way: see PublishSample.
		opts = append(opts, nats.NoEcho())
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect bus (%s): %w", name, err)
	}
	out.start(nc)
	return nc, nil
}

// flusherTimeout is how long an external server may take nothing before the
// connection is begun anew; nats.go's own is a minute.
const flusherTimeout = 250 * time.Millisecond

// pingEvery is how often a connection to an external server is tried; one that leads
// nowhere is begun anew at the third time. A node may be heard over one of its two
// connections while its samples are lost on the other, and until then nobody takes its
// targets over.
const pingEvery = time.Second

func (b *Bus) clientOptions(name string, out *outbox) []nats.Option {
	log := b.opts.Log.With("part", "bus", "connection", name)
	// nats.go calls all handlers of a connection from one goroutine.
	said := ""           // the latest complaint
	var slowAt time.Time // when slowness was last told
	var refused core.Seldom
	return []nats.Option{
		nats.Name("steelyard " + b.opts.Node + " " + name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, time.Second),
		nats.Timeout(2 * time.Second),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		// Nothing is kept for a server that is away: it would arrive as old news.
		nats.ReconnectBufSize(-1),
		nats.CustomInboxPrefix("_INBOX_" + Escape(b.opts.Node)),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrSlowConsumer) && sub != nil {
				// A flood says this hundreds of times a second; Stats counts.
				if time.Since(slowAt) < slowEvery {
					return
				}
				slowAt = time.Now()
				log.Warn("subscriber is too slow and loses messages", "subject", sub.Subject)
				return
			}
			b.denials.note(name, err, time.Now())
			// A presence is refused four times a second.
			if untold, due := refused.Due(err.Error(), "refused", time.Now()); due {
				log.Warn("bus refused something", "err", err, "told_not", untold, "remedy", b.remedy(err))
			}
		}),
		nats.ConnectHandler(func(*nats.Conn) { out.setOnline(true) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			out.setOnline(false)
			if !b.closed.Load() {
				log.Warn("lost the bus; messages are dropped until it is back", "err", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			// Tried several times a second: say it once, not each time.
			if text := err.Error(); text != said {
				said = text
				log.Warn("cannot join the bus; trying on", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			said = ""
			b.denials.forget(name)
			out.setOnline(true)
			b.counters.reconnects.Add(1)
			log.Info("bus is back", "server", nc.ConnectedUrlRedacted())
		}),
	}
}

func (l Login) options() ([]nats.Option, error) {
	var opts []nats.Option
	if l.User != "" {
		opts = append(opts, nats.UserInfo(l.User, l.Password.Reveal()))
	}
	if l.NKey != "" {
		key, err := nkeyOption(l.NKey)
		if err != nil {
			return nil, err
		}
		opts = append(opts, key)
	}
	if l.Credentials != "" {
		opts = append(opts, nats.UserCredentials(l.Credentials))
	}
	if l.CA != "" {
		opts = append(opts, nats.RootCAs(l.CA))
	}
	if l.TLS.Cert != "" {
		opts = append(opts, nats.ClientCert(l.TLS.Cert, l.TLS.Key))
	}
	return opts, nil
}
