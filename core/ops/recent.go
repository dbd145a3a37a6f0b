// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"context"
	"sync"
	"time"
)

// recently is how long an answer of the event loop serves who needs no password: they
// cannot have it compute a view of 16,000 backends again and again.
const recently = time.Second

// A recent keeps the latest answer to a question, and asks once for all who wait.
type recent[T any] struct {
	mu     sync.Mutex
	latest T         // guarded by mu
	err    error     // guarded by mu
	at     time.Time // guarded by mu; when it was given
}

// get is an answer that is at most a second old. One client that goes takes the answer
// from no other.
func (r *recent[T]) get(ctx context.Context, within time.Duration, ask func(context.Context) (T, error)) (T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at.IsZero() && time.Since(r.at) < recently {
		return r.latest, r.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	r.latest, r.err = ask(ctx)
	r.at = time.Now()
	return r.latest, r.err
}
