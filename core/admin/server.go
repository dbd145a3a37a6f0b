// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// NodeInterface is the running steelyard behind the socket. Its methods are
// called from several goroutines at once.
type NodeInterface interface {
	View(ctx context.Context) (core.NodeView, error)
	// Decisions returns the latest decisions of a service, at most last.
	Decisions(service string, last int) ([]core.Decision, error)
	// Reload returns when the new configuration is in force, with what that changed,
	// or refused. An error with a method ConfigInvalid() bool that says true is one
	// of CodeInvalid.
	Reload(ctx context.Context) (core.ReloadResult, error)
	// Stop begins to end the process; with flush its rules go too.
	Stop(ctx context.Context, flush bool) error
	// Override changes a backend by command, or ends such a change. It returns when
	// that is in force; an error means that nothing was changed.
	Override(ctx context.Context, id core.BackendID, r core.OverrideRequest) (core.OverrideResult, error)
	// Cut ends the open connections of a backend and returns how many there were.
	Cut(ctx context.Context, id core.BackendID) (int, error)
	// InForce is what the node carries, to compare a configuration with.
	InForce(ctx context.Context) (core.InForce, error)
	// Sessions are the clients that persistence has bound, by service.
	Sessions(ctx context.Context, q SessionsQuery) ([]core.SessionsView, error)
	// Pin pins clients to a backend by command, or ends that; Forget has
	// persistence forget clients and returns how many there were. Both return when
	// that is in force; an error means that nothing was changed.
	Pin(ctx context.Context, service string, r core.PinRequest) (core.PinResult, error)
	Forget(ctx context.Context, service string, f core.SessionFilter, author string) (int, error)
	// Push takes what a monitor knows of a backend, in the name of that monitor.
	// Without a service, s.Backend.Backend is a target: see core.Sample.
	Push(source string, s core.Sample) error
	// Pushed says why what was pushed before is known to this node alone, for people, or
	// nothing.
	Pushed(ctx context.Context) string
	// Trace follows the next sample of a backend, of one probe if that is not empty,
	// to its end, or to that of ctx.
	Trace(ctx context.Context, id core.BackendID, probe string) (core.Trace, error)
	// Recordings are the latest calls of policies for a service, of all if it is
	// empty, oldest first, and the cursor to go on from; 0 is before all.
	Recordings(service string, cursor uint64) ([]core.Recorded, uint64)
	// FollowRecordings keeps the calls of a service until stop is called, however
	// many other services there are.
	FollowRecordings(service string) (stop func())
	// Subscribe follows the bus. An error means that the pattern is wrong.
	Subscribe(pattern string, fn func(subject string, data []byte)) (cancel func(), err error)
}

// Limits towards a client. Whoever may use the socket may stop the daemon, so
// they guard against broken clients, not hostile ones.
const (
	headerTimeout = 5 * time.Second
	idleTimeout   = time.Minute
	answerTimeout = 10 * time.Second // to compute an answer that only reads
	changeTimeout = 2 * time.Minute  // to reload or to stop
	writeTimeout  = 10 * time.Second // to take an answer, or a part of a stream
	closeTimeout  = 2 * time.Second  // for answers that are under way at the end
	maxHeader     = 16 << 10
	maxMonitors   = 32
	maxLast       = 1000
	maxName       = 253 // the limit on the bus as well
)

// A Server answers on the control socket. Its zero value but for Path and Node
// is ready.
type Server struct {
	Path    string // absolute
	Group   string // that may use the socket; empty leaves it with the group of the process
	Node    NodeInterface
	Version string       // of the program; empty means that Node's view says it
	Log     *slog.Logger // nil means silence

	listener net.Listener // of Listen, until Run takes it
	monitors atomic.Int32 // streams that are open
}

// Listen opens the socket and serves nobody yet, so that a path that cannot be
// had is known before anything else is touched. It may be left out; if it
// succeeds, Run must follow.
func (s *Server) Listen() (err error) {
	s.listener, err = listen(s.Path, s.Group)
	return err
}

// Run opens the socket, unless Listen did, and serves until ctx is done, then
// removes it and returns nil. Answers that are under way get two seconds; only
// one that hangs in Node is left behind.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	l := s.listener
	inode := inodeOf(s.Path)
	defer func() {
		// Another's socket may be there by now.
		if inode != nil && os.SameFile(inode, inodeOf(s.Path)) {
			_ = os.Remove(s.Path)
		}
	}()
	// Streams end with ctx; answers that are under way are finished.
	srv := &http.Server{
		Handler:           s.handler(ctx),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:          slog.NewLogLogger(s.log().Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1) // one result
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve control socket %s: %w", s.Path, err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if srv.Shutdown(end) != nil {
		_ = srv.Close() // the connections are cut; their handlers see it
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve control socket %s: %w", s.Path, err)
	}
	return nil
}

func inodeOf(path string) os.FileInfo {
	info, err := os.Lstat(path)
	if err != nil {
		return nil
	}
	return info
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}
