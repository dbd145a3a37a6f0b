// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Limits of what may be pushed.
const (
	MaxDocumentBytes = 1 << 20
	MaxFileBytes     = 16 << 20
	MaxFiles         = 256
	maxTextBytes     = 1024 // of Who, Host and Message
)

// DefaultStoreBytes is how large the store of documents and files may become. Servers
// set so much aside; without a limit it would grow until their disk is full.
const DefaultStoreBytes = 128 << 20

const (
	definitionsConn = "definitions"
	definitionsKey  = "definitions" // in the bucket
	revisionBytes   = 64 << 10      // the record of one revision
	bucketBytes     = 16 << 20      // all that are kept, four times over
	// history is the most that a bucket keeps of a key.
	history = jetstream.KeyValueMaxHistory
	// callTimeout is how long JetStream may take for an answer, and fileTimeout for a
	// whole file.
	callTimeout = 5 * time.Second
	fileTimeout = 30 * time.Second
)

// AnyRevision makes Push replace whatever there is.
const AnyRevision = ^uint64(0)

// A Revision says of one pushed state of the definitions what it is and whose.
type Revision struct {
	Number uint64    `json:"number"` // counts up; given by the store
	At     time.Time `json:"at"`     // by the clock of who pushed
	// Who pushed it, from which Host, and why.
	Who     string `json:"who"`
	Host    string `json:"host"`
	Message string `json:"message"`
	// SHA256 is that of the document, in hexadecimal; Files are the digests of the
	// files, by the names that the document has for them.
	SHA256 string            `json:"sha256"`
	Files  map[string]string `json:"files,omitempty"`
}

// Definitions are what the nodes of a group have in common, in the JetStream of an
// external NATS: a document and its files, as numbered revisions. Nothing of it is
// needed to start or to serve. Its methods may be called from any goroutine. An answer
// of JetStream is waited for 5 s, a file 30 s; the connection of its own is made by the
// first call.
type Definitions struct {
	// Replicas is how many servers of the cluster keep the store; 0 means three, or one
	// where there are fewer. MaxBytes is how large it may become; 0 means
	// DefaultStoreBytes. Both count when the store is made, which the first Push does.
	Replicas int
	MaxBytes int64

	bus   *Bus
	group string

	mu sync.Mutex
	nc *nats.Conn // guarded by mu; nil until it is needed
	// calls are those that run; guarded by mu. A refusal of the server, which comes
	// beside the answer, ends them.
	calls map[int]context.CancelCauseFunc
	last  int // guarded by mu; the latest key of calls
}

// Definitions are those of a group. Close them when they are no longer used.
func (b *Bus) Definitions(group string) *Definitions {
	return &Definitions{bus: b, group: group, calls: make(map[int]context.CancelCauseFunc)}
}

// Close ends the connection, if there is one. A later call makes a new one.
func (d *Definitions) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nc != nil {
		d.nc.Close()
		d.nc = nil
	}
}

var groupPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// bucketName is that of both the bucket and the object store.
func bucketName(group string) string { return "STEELYARD_" + group }

// join is the connection, made if it is not there.
func (d *Definitions) join() (*nats.Conn, error) {
	switch {
	case !groupPattern.MatchString(d.group):
		return nil, fmt.Errorf("group %q: want letters, digits, - and _", d.group)
	case len(d.bus.opts.Servers) == 0:
		return nil, errors.New("there is no external NATS; name its servers, since the one inside keeps nothing")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nc != nil && !d.nc.IsClosed() {
		return d.nc, nil
	}
	nc, err := d.bus.connectDefinitions(d.refused)
	if err != nil {
		return nil, err
	}
	d.nc = nc
	return nc, nil
}

// refused is told what the server does not allow. It is an event of the connection,
// not an answer: without it every such call would wait until its time is over.
func (d *Definitions) refused(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, cancel := range d.calls {
		cancel(err)
	}
}

// call runs fn with a time limit, and explains its error.
func (d *Definitions) call(ctx context.Context, what string, limit time.Duration, fn func(context.Context, jetstream.JetStream) error) error {
	nc, err := d.join()
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
	d.mu.Lock()
	d.last++
	id := d.last
	d.calls[id] = cancel
	d.mu.Unlock()

	err = fn(limited, js)

	d.mu.Lock()
	delete(d.calls, id)
	d.mu.Unlock()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, ctx.Err())
	case limited.Err() != nil: // the server refused it, or it took too long
		err = context.Cause(limited)
	}
	return fmt.Errorf("%s of group %s: %w", what, d.group, explain(err, nc.IsConnected()))
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
