// SPDX-License-Identifier: Apache-2.0

package definitions

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Latest is the newest revision and its document.
func (s *Store) Latest(ctx context.Context) (Revision, []byte, error) {
	return s.read(ctx, 0)
}

// Get is a revision of the past; the newest 64 are kept.
func (s *Store) Get(ctx context.Context, number uint64) (Revision, []byte, error) {
	if number == 0 {
		return Revision{}, nil, fmt.Errorf("read revision 0 of group %s: %w", s.cfg.Group, ErrNone)
	}
	return s.read(ctx, number)
}

// read is Get, or Latest for 0.
func (s *Store) read(ctx context.Context, number uint64) (r Revision, doc []byte, err error) {
	what := "read the newest definitions"
	if number != 0 {
		what = fmt.Sprintf("read revision %d of the definitions", number)
	}
	err = s.call(ctx, what, callTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		r, _, err = s.revision(ctx, js, number)
		return err
	})
	if err != nil {
		return Revision{}, nil, err
	}
	if doc, err = s.File(ctx, r.SHA256); err != nil {
		return Revision{}, nil, fmt.Errorf("%s, %d: %w", what, r.Number, err)
	}
	return r, doc, nil
}

// newest is Latest without the document.
func (s *Store) newest(ctx context.Context) (r Revision, err error) {
	err = s.call(ctx, "read the newest revision", callTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		r, _, err = s.revision(ctx, js, 0)
		return err
	})
	return r, err
}

// History is what is known of the past, the newest first; at most 64. With an error it
// is what was read until then.
func (s *Store) History(ctx context.Context) (all []Revision, err error) {
	err = s.call(ctx, "read the history", fileTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		all, _, err = s.past(ctx, js, history)
		return err
	})
	return all, err
}

// past are the newest revisions, and when the newest came into the store.
func (s *Store) past(ctx context.Context, js jetstream.JetStream, limit int) (all []Revision, at time.Time, err error) {
	r, at, err := s.revision(ctx, js, 0)
	if err != nil {
		return nil, at, err
	}
	all = append(all, r)
	// Nothing else is written to the bucket, so that numbers have no gaps.
	for number := r.Number - 1; number > 0 && len(all) < limit; number-- {
		r, _, err := s.revision(ctx, js, number)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			break // older than what is kept
		}
		if err != nil {
			return all, at, err
		}
		all = append(all, r)
	}
	return all, at, nil
}

// revision is that of a number, 0 for the newest, and when it came into the store.
func (s *Store) revision(ctx context.Context, js jetstream.JetStream, number uint64) (Revision, time.Time, error) {
	kv, err := js.KeyValue(ctx, s.bucket())
	if err != nil {
		return Revision{}, time.Time{}, err
	}
	var e jetstream.KeyValueEntry
	if number == 0 {
		e, err = kv.Get(ctx, revisionKey)
	} else {
		e, err = kv.GetRevision(ctx, revisionKey, number)
	}
	if err != nil {
		return Revision{}, time.Time{}, err
	}
	r, err := decodeRevision(e.Value())
	if err != nil {
		return Revision{}, time.Time{}, fmt.Errorf("revision %d: %w", e.Revision(), err)
	}
	r.Number = e.Revision()
	return r, e.Created(), nil
}

// File is the content with that digest, in hexadecimal. What the store has is only
// given if it has that digest indeed.
func (s *Store) File(ctx context.Context, sha256 string) (data []byte, err error) {
	what := fmt.Sprintf("read %.64s", sha256)
	if !digestPattern.MatchString(sha256) {
		return nil, fmt.Errorf("%s: not a SHA-256 in hexadecimal", what)
	}
	err = s.call(ctx, what, fileTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		files, err := s.objects(ctx, js)
		if err != nil {
			return err
		}
		data, err = files.get(ctx, sha256)
		return err
	})
	return data, err
}
