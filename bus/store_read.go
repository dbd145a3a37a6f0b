// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Latest is the newest revision and its document.
func (d *Definitions) Latest(ctx context.Context) (Revision, []byte, error) {
	return d.read(ctx, 0)
}

// Get is a revision of the past; the newest 64 are kept.
func (d *Definitions) Get(ctx context.Context, number uint64) (Revision, []byte, error) {
	if number == 0 {
		return Revision{}, nil, fmt.Errorf("read revision 0 of group %s: %w", d.group, ErrNoDefinitions)
	}
	return d.read(ctx, number)
}

// read is Get, or Latest for 0.
func (d *Definitions) read(ctx context.Context, number uint64) (r Revision, doc []byte, err error) {
	what := "read the newest definitions"
	if number != 0 {
		what = fmt.Sprintf("read revision %d of the definitions", number)
	}
	err = d.call(ctx, what, callTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		r, _, err = d.revision(ctx, js, number)
		return err
	})
	if err != nil {
		return Revision{}, nil, err
	}
	if doc, err = d.File(ctx, r.SHA256); err != nil {
		return Revision{}, nil, fmt.Errorf("%s, %d: %w", what, r.Number, err)
	}
	if len(doc) > MaxDocumentBytes {
		return Revision{}, nil, fmt.Errorf("%s, %d: %d bytes, want at most %d", what, r.Number, len(doc), MaxDocumentBytes)
	}
	return r, doc, nil
}

// newest is Latest without the document.
func (d *Definitions) newest(ctx context.Context) (r Revision, err error) {
	err = d.call(ctx, "read the newest revision", callTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		r, _, err = d.revision(ctx, js, 0)
		return err
	})
	return r, err
}

// History is what is known of the past, the newest first; at most 64.
func (d *Definitions) History(ctx context.Context) (all []Revision, err error) {
	err = d.call(ctx, "read the history", fileTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		all, _, err = d.past(ctx, js, history)
		return err
	})
	return all, err
}

// past are the newest revisions, and when the newest came into the store.
func (d *Definitions) past(ctx context.Context, js jetstream.JetStream, limit int) (all []Revision, at time.Time, err error) {
	r, at, err := d.revision(ctx, js, 0)
	if err != nil {
		return nil, at, err
	}
	all = append(all, r)
	// Nothing else is written to the bucket, so that numbers have no gaps.
	for number := r.Number - 1; number > 0 && len(all) < limit; number-- {
		r, _, err := d.revision(ctx, js, number)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			break // older than what is kept
		}
		if err != nil {
			return nil, at, err
		}
		all = append(all, r)
	}
	return all, at, nil
}

// revision is that of a number, 0 for the newest, and when it came into the store.
func (d *Definitions) revision(ctx context.Context, js jetstream.JetStream, number uint64) (Revision, time.Time, error) {
	kv, err := js.KeyValue(ctx, bucketName(d.group))
	if err != nil {
		return Revision{}, time.Time{}, err
	}
	var e jetstream.KeyValueEntry
	if number == 0 {
		e, err = kv.Get(ctx, definitionsKey)
	} else {
		e, err = kv.GetRevision(ctx, definitionsKey, number)
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

// decodeRevision reads the record of a revision. Who may write the store may write
// anything there.
func decodeRevision(data []byte) (Revision, error) {
	if len(data) > revisionBytes {
		return Revision{}, fmt.Errorf("record of %d bytes, want at most %d: %w", len(data), revisionBytes, ErrDamaged)
	}
	var r Revision
	if err := json.Unmarshal(data, &r); err != nil {
		return Revision{}, fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	if err := r.check(); err != nil {
		return Revision{}, fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	return r, nil
}

// File is the content with that digest, in hexadecimal. What the store has is only
// given if it has that digest indeed.
func (d *Definitions) File(ctx context.Context, sha256 string) (data []byte, err error) {
	what := "read " + cut(sha256, 2*32)
	if !digestPattern.MatchString(sha256) {
		return nil, fmt.Errorf("%s: not a SHA-256 in hexadecimal", what)
	}
	err = d.call(ctx, what, fileTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		files, err := d.objects(ctx, js)
		if err != nil {
			return err
		}
		data, err = files.get(ctx, sha256)
		return err
	})
	return data, err
}
