// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A Node is the running steelyard behind the listener. Its methods are called from
// several goroutines at once.
type Node interface {
	// View asks the event loop; that it answers is what /healthz is about.
	View(ctx context.Context) (core.NodeView, error)
	// Ready tells whether this node should get traffic. Checks makes the list of a view.
	Ready(ctx context.Context) []Check
	// Push hands on what a monitor knows of a backend. Source is the user's name; of a
	// sample for every backend that matches a target the service is empty. An error
	// means that nothing was taken of it, and says why; see ErrBusy and UnmatchedError.
	Push(source string, s core.Sample) error
	// Pushed says why what was pushed before is known to this node alone, for people, or
	// nothing. It may ask the bus for that.
	Pushed(ctx context.Context) string
}

// A Config says where to listen and who may ask.
type Config struct {
	Listen    string // address and port
	Cert, Key string // PEM files, read again when they change; both empty: no TLS
	// ClientCA is a PEM file with the authorities of clients; with it every client must
	// show a certificate, beside being a user.
	ClientCA string
	// Users may be empty on a loopback address. Then everyone there may read and nobody
	// may push: a number needs a name to come from.
	Users     []User
	Node      Node
	Version   string // of the program
	MaxSeries int    // of one page of metrics; 0 means DefaultMaxSeries
	Event     func(core.Event)
	Log       *slog.Logger // nil means silence
}

// DefaultMaxSeries is the limit of one page of metrics. Prometheus spends some 4 kB of
// memory on a series.
const DefaultMaxSeries = 100_000

// Limits towards clients, who are not all friends.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 15 * time.Second // for the whole request
	writeTimeout  = time.Minute      // a large page over a slow line
	idleTimeout   = 2 * time.Minute  // longer than scrapes are apart
	closeTimeout  = 2 * time.Second  // for answers that are under way at the end
	listenAgain   = 5 * time.Second
	maxHeader     = 16 << 10
	maxBody       = 1 << 20
)

// A Server is the listener. A nil Server observes nothing, so that who feeds it need
// not know whether there is one.
type Server struct {
	cfg   Config
	log   *slog.Logger
	auth  *keeper
	meter meter
	pages pages
	crowd crowd
	view  recent[core.NodeView]
	ready recent[[]Check]

	again  time.Duration // between two attempts to listen
	within time.Duration // the event loop must answer /healthz and /readyz

	mu        sync.Mutex
	listener  net.Listener // guarded by mu; nil until Listen succeeded
	listenErr error        // guarded by mu; of the latest attempt
}

// New checks a configuration and reads its certificates. It opens nothing.
func New(cfg Config) (*Server, error) {
	cfg.MaxSeries = cmp.Or(cfg.MaxSeries, DefaultMaxSeries)
	s := &Server{cfg: cfg, log: cfg.Log, again: listenAgain, within: aliveWithin}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := checkListen(cfg); err != nil {
		return nil, err
	}
	auth, err := newKeeper(cfg.Users)
	if err != nil {
		return nil, err
	}
	s.auth = auth
	if _, err := s.tlsConfig(); err != nil {
		return nil, err
	}
	s.meter.init()
	return s, nil
}

// checkListen refuses what would hand names and passwords to a network.
func checkListen(cfg Config) error {
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return fmt.Errorf("http.listen %q is no address and port, such as 127.0.0.1:9190", cfg.Listen)
	}
	ip, err := netip.ParseAddr(host)
	loopback := err == nil && ip.IsLoopback() || host == "localhost"
	switch {
	case (cfg.Cert == "") != (cfg.Key == ""):
		return errors.New("http.tls needs both cert and key")
	case cfg.ClientCA != "" && cfg.Cert == "":
		return errors.New("http.tls.ca is about the certificates of clients, and needs http.tls.cert and key as well")
	case !loopback && cfg.Cert == "":
		return fmt.Errorf("http.listen %q is not a loopback address, and passwords would cross the network in clear; set http.tls, or listen on 127.0.0.1", cfg.Listen)
	case !loopback && len(cfg.Users) == 0:
		return fmt.Errorf("http.listen %q is not a loopback address, and anyone there could read; add a user to http.users, or listen on 127.0.0.1", cfg.Listen)
	}
	return nil
}

// Listen opens the port. It may be left out; Run does it then, and again and again
// where it fails.
func (s *Server) Listen() error {
	tlsConfig, err := s.tlsConfig()
	if err != nil {
		return s.listened(nil, err)
	}
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return s.listened(nil, fmt.Errorf("listen for metrics and health: %w", err))
	}
	return s.listened(withTLS(l, tlsConfig), nil)
}

func (s *Server) listened(l net.Listener, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener, s.listenErr = l, err
	return err
}

// ListenErr says why the latest attempt to listen failed; nil if it did not.
func (s *Server) ListenErr() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listenErr
}

// Addr is where it listens; nil while it does not.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Run serves until ctx is done, and gives answers under way two seconds then. It
// returns nil: a balancer goes on without this listener. An address that cannot be had
// now, such as one that only the active node has, is tried again.
func (s *Server) Run(ctx context.Context) error {
	told := false
	for s.Addr() == nil {
		err := s.Listen()
		if err == nil {
			break
		}
		if !told {
			told = true
			s.tell(core.Error, err.Error()+"; it is tried again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(s.again):
		}
	}
	if told {
		s.tell(core.Info, "metrics and health are served on "+s.Addr().String())
	}
	if err := s.serve(ctx); err != nil {
		s.tell(core.Error, err.Error())
	}
	return nil
}

func (s *Server) serve(ctx context.Context) error {
	s.mu.Lock()
	l := s.listener
	s.mu.Unlock()
	srv := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		ConnState:         s.crowd.state,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1) // one result
	go func() { served <- srv.Serve(l) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if srv.Shutdown(end) != nil {
			_ = srv.Close() // the connections are cut; their handlers see it
		}
		err = <-served
	}
	_ = s.listened(nil, nil)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve metrics and health on %s: %w", s.cfg.Listen, err)
}

// tell makes an event of what an operator should know of the listener.
func (s *Server) tell(severity core.Severity, message string) {
	level := slog.LevelInfo
	if severity == core.Error {
		level = slog.LevelError
	}
	s.log.Log(context.Background(), level, strings.TrimSpace(message))
	if s.cfg.Event != nil {
		s.cfg.Event(core.Event{At: time.Now().UTC(), Severity: severity, Topic: "http", Message: message})
	}
}
