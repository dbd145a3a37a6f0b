// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

const (
	internalUser = "steelyard-internal"
	startTimeout = 5 * time.Second
	stopTimeout  = 2 * time.Second
)

// Limits of the embedded server, towards clients that come in through Listen.
const (
	maxConnections   = 128
	maxPerUser       = 32              // connections of one user
	maxSubscriptions = 1000            // of one connection
	maxPending       = 8 << 20         // bytes queued for one client; a slower one is cut off
	writeDeadline    = 3 * time.Second // for the same reason
	pingInterval     = 10 * time.Second
)

// An embedded is a NATS server in this process.
type embedded struct {
	srv    *natsserver.Server
	secret string // password of internalUser
	// listenErr is why the TCP listener is missing although one was asked for.
	listenErr error
}

// startEmbedded starts the server. A TCP listener that cannot be had is not
// fatal: the balancer must work although the port of a side door is taken.
func startEmbedded(ctx context.Context, o Options) (*embedded, error) {
	secret := rand.Text() + rand.Text()
	opts, err := serverOptions(o, secret)
	if err != nil {
		return nil, err
	}
	srv, err := runServer(ctx, opts, o)
	if err == nil {
		return &embedded{srv: srv, secret: secret}, nil
	}
	if opts.DontListen {
		return nil, err
	}
	listenErr := fmt.Errorf("listen %s: %w", o.Listen, err)
	opts.DontListen = true
	if srv, err = runServer(ctx, opts, o); err != nil {
		return nil, err
	}
	return &embedded{srv: srv, secret: secret, listenErr: listenErr}, nil
}

func runServer(ctx context.Context, opts *natsserver.Options, o Options) (*natsserver.Server, error) {
	srv, err := natsserver.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("start embedded NATS: %w", err)
	}
	if door, ok := opts.CustomClientAuthentication.(*doorman); ok {
		door.account.Store(srv.GlobalAccount())
	}
	log := &serverLog{log: o.Log.With("part", "nats"), dead: make(chan struct{})}
	srv.SetLoggerV2(log, false, false, false)
	srv.Start()

	wait := startTimeout
	if at, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(at))
	}
	select {
	case <-log.dead:
		err = log.err
	default:
		if !srv.ReadyForConnections(wait) {
			err = fmt.Errorf("not ready after %v", wait)
		}
	}
	if err != nil {
		stopServer(srv)
		return nil, fmt.Errorf("start embedded NATS: %w", err)
	}
	return srv, nil
}

// stopServer stops the server and waits for it, but not for ever.
func stopServer(srv *natsserver.Server) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Shutdown()
		srv.WaitForShutdown()
	}()
	select {
	case <-done:
	case <-time.After(stopTimeout):
	}
}

// serverOptions are built as values, not as configuration text: passwords then
// need no quoting, and the compiler checks the names.
func serverOptions(o Options, secret string) (*natsserver.Options, error) {
	door, err := newDoorman(o, secret)
	if err != nil {
		return nil, err
	}
	opts := &natsserver.Options{
		ServerName: "steelyard-" + Escape(o.Node),
		// Its signal handlers would end the process behind our back.
		NoSigs:     true,
		NoLog:      true,
		DontListen: o.Listen == "",
		// No system account: nothing reads it, and it is one more way in.
		NoSystemAccount:     true,
		NoFastProducerStall: true, // a slow reader must not slow a prober
		MaxConn:             maxConnections,
		MaxSubs:             maxSubscriptions,
		MaxPayload:          MaxBodyBytes,
		MaxPending:          maxPending,
		WriteDeadline:       writeDeadline,
		PingInterval:        pingInterval,
		MaxPingsOut:         2,

		CustomClientAuthentication: door,
		AlwaysEnableNonce:          true, // an nkey signs it
	}
	if o.Listen == "" {
		return opts, nil
	}
	host, port, err := splitListen(o.Listen)
	if err != nil {
		return nil, err
	}
	opts.Host, opts.Port = host, port
	if port == 0 {
		opts.Port = natsserver.RANDOM_PORT
	}
	if o.TLS.Cert != "" {
		if opts.TLSConfig, err = listenerTLS(o.TLS); err != nil {
			return nil, err
		}
		opts.TLS, opts.TLSTimeout = true, 2
	}
	return opts, nil
}

// permissions are those of the lists of a user, or what a monitor and a viewer may.
func (u User) permissions() (*natsserver.Permissions, error) {
	pub, _ := RolePermissions(MonitorRole, u.Name, "")
	_, sub := RolePermissions(ViewerRole, u.Name, "")
	var err error
	if u.Publish != nil {
		if pub, err = patterns(u.Publish); err != nil {
			return nil, fmt.Errorf("user %s: %w", u.Name, err)
		}
	}
	if u.Subscribe != nil {
		if sub, err = patterns(u.Subscribe); err != nil {
			return nil, fmt.Errorf("user %s: %w", u.Name, err)
		}
		sub = append(sub, inbox(u.Name))
	}
	// NATS reads a nil list as no limit, and an empty one as nothing at all.
	return &natsserver.Permissions{
		Publish:   &natsserver.SubjectPermission{Allow: append([]string{}, pub...)},
		Subscribe: &natsserver.SubjectPermission{Allow: append([]string{}, sub...)},
	}, nil
}

func patterns(short []string) ([]string, error) {
	var out []string
	for _, p := range short {
		full, err := Pattern(p)
		if err != nil {
			return nil, err
		}
		out = append(out, full)
	}
	return out, nil
}

// A serverLog carries what the NATS server says into slog. It must not end the
// process, which is what NATS means by fatal: the kernel goes on without a bus.
type serverLog struct {
	log *slog.Logger
	// dead is closed at the first fatal error, which is then in err.
	dead chan struct{}
	once sync.Once
	err  error
}

func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *serverLog) Errorf(format string, v ...any)  { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *serverLog) Debugf(string, ...any)           {}
func (l *serverLog) Tracef(string, ...any)           {}

// Fatalf implements natsserver.Logger.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.once.Do(func() {
		l.err = fmt.Errorf("%s", strings.TrimSpace(fmt.Sprintf(format, v...)))
		close(l.dead)
	})
}
