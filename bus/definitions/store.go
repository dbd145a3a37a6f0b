// SPDX-License-Identifier: Apache-2.0

package definitions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/steelyard-lb/steelyard/bus"
)

// DefaultBytes is how large the store of documents and files may become. Servers set
// so much aside; without a limit it would grow until their disk is full.
const DefaultBytes = 128 << 20

const (
	revisionKey   = "definitions" // in the bucket
	revisionBytes = 64 << 10      // the record of one revision
	bucketBytes   = 16 << 20      // all that are kept, four times over
	// history is the most that a bucket keeps of a key.
	history = jetstream.KeyValueMaxHistory
	// callTimeout is how long JetStream may take for an answer, and fileTimeout for a
	// whole file.
	callTimeout = 5 * time.Second
	fileTimeout = 30 * time.Second
)

// A Config says whose definitions they are, and where. Group, Node and Servers are
// required.
type Config struct {
	Group   string   // letters, digits, - and _
	Servers []string // URLs of an external NATS
	Login   bus.Login
	// Node names the connection and its inbox: the name that the permissions of the
	// login are for.
	Node string

	// Replicas is how many servers of the cluster keep the store; 0 means three, or one
	// where there are fewer. MaxBytes is how large it may become; 0 means DefaultBytes.
	// Both count when the store is made, which the first Push does.
	Replicas int
	MaxBytes int64

	JoinTimeout time.Duration // of each of Servers; 0 means 2 s
	Log         *slog.Logger  // nil means silence
}

// A Store is where the definitions of a group are. Its methods may be called from any
// goroutine. The first call makes a connection of its own.
type Store struct {
	cfg Config

	mu sync.Mutex
	nc *nats.Conn // guarded by mu; nil until it is needed
	// calls are those that run; guarded by mu. A refusal of the server, which comes
	// beside the answer, ends them.
	calls map[int]context.CancelCauseFunc
	last  int // guarded by mu; the latest key of calls
}

// New is the store of a group. Close it when it is no longer used.
func New(c Config) *Store {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.JoinTimeout = cmp.Or(c.JoinTimeout, defaultJoinTimeout)
	return &Store{cfg: c, calls: make(map[int]context.CancelCauseFunc)}
}

// Close ends the connection, if there is one. A later call makes a new one.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nc != nil {
		s.nc.Close()
		s.nc = nil
	}
}

// bucket is the name of both the bucket and the object store.
func (s *Store) bucket() string { return bus.DefinitionsBucket(s.cfg.Group) }

// join is the connection, made if it is not there.
func (s *Store) join() (*nats.Conn, error) {
	if err := bus.CheckGroup(s.cfg.Group); err != nil {
		return nil, err
	}
	if len(s.cfg.Servers) == 0 {
		return nil, errors.New("there is no external NATS; name its servers, since the one inside keeps nothing")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nc != nil && !s.nc.IsClosed() {
		return s.nc, nil
	}
	nc, err := s.dial()
	if err != nil {
		return nil, err
	}
	s.nc = nc
	return nc, nil
}

// refused is told what the server does not allow. It is an event of the connection,
// not an answer: without it every such call would wait until its time is over.
func (s *Store) refused(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cancel := range s.calls {
		cancel(err)
	}
}

// call runs fn with a time limit, and explains its error.
func (s *Store) call(ctx context.Context, what string, limit time.Duration, fn func(context.Context, jetstream.JetStream) error) error {
	nc, err := s.join()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(callTimeout))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	// Without a deadline, since nats.go gives each request of a call the whole time up to
	// there, and callTimeout only if there is none.
	limited, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(ctx.Err()) })()
	defer time.AfterFunc(limit, func() { cancel(context.DeadlineExceeded) }).Stop()
	s.mu.Lock()
	s.last++
	id := s.last
	s.calls[id] = cancel
	s.mu.Unlock()

	err = fn(limited, js)

	s.mu.Lock()
	delete(s.calls, id)
	s.mu.Unlock()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, ctx.Err())
	case limited.Err() != nil: // the server refused it, or it took too long
		err = context.Cause(limited)
	}
	return fmt.Errorf("%s of group %s: %w", what, s.cfg.Group, explain(err, nc.IsConnected()))
}
