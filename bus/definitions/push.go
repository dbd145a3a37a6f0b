// SPDX-License-Identifier: Apache-2.0

package definitions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Push stores a document and the files that it names as a new revision, and returns
// that with its number, digests and, if At is missing, time. expect is the number of
// the revision on which it is based, 0 if there must be none, or AnyRevision; if another
// is the newest, the error is ErrConflict and nothing has changed. The files are in the
// store before the revision is.
func (s *Store) Push(ctx context.Context, doc []byte, files map[string][]byte, r Revision, expect uint64) (Revision, error) {
	contents, err := r.describe(doc, files)
	if err != nil {
		return Revision{}, fmt.Errorf("push definitions of group %s: %w", s.cfg.Group, err)
	}
	// The number that it will have is not known; the store says it.
	r.Number = 0
	record, err := json.Marshal(r)
	if err != nil {
		return Revision{}, fmt.Errorf("push definitions of group %s: %w", s.cfg.Group, err)
	}
	if len(record) > revisionBytes {
		return Revision{}, fmt.Errorf("push definitions of group %s: names and message take %d bytes, want at most %d", s.cfg.Group, len(record), revisionBytes)
	}
	if err := s.open(ctx); err != nil {
		return Revision{}, err
	}
	if err := s.inTime(ctx, expect); err != nil {
		return Revision{}, err
	}
	if err := s.upload(ctx, contents); err != nil {
		return Revision{}, err
	}
	if r.Number, err = s.commit(ctx, record, expect); err != nil {
		return Revision{}, err
	}
	// Somebody may have cleared away meanwhile what was there already.
	if err := s.upload(ctx, contents); err != nil {
		return Revision{}, fmt.Errorf("revision %d is stored, but not all of its files; push again: %w", r.Number, err)
	}
	if err := s.clear(ctx, history, strayAge); err != nil {
		s.cfg.Log.Warn("cannot clear old files away", "part", "bus", "group", s.cfg.Group, "err", err)
	}
	return r, nil
}

// open makes the bucket and the store of files, if they are not there.
func (s *Store) open(ctx context.Context) error {
	return s.call(ctx, "make the store of definitions", fileTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		name := s.bucket()
		_, err := js.KeyValue(ctx, name)
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			err = s.replicated(func(replicas int) error {
				_, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: name, Description: "steelyard: revisions of definitions",
					History: history, MaxBytes: bucketBytes, MaxValueSize: revisionBytes,
					Storage: jetstream.FileStorage, Replicas: replicas})
				return err
			})
		}
		if err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
			return err
		}
		_, err = js.ObjectStore(ctx, name)
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			err = s.replicated(func(replicas int) error {
				_, err := js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: name, Description: "steelyard: documents and files of definitions",
					MaxBytes: cmp.Or(s.cfg.MaxBytes, DefaultBytes), Storage: jetstream.FileStorage, Replicas: replicas})
				return err
			})
		}
		if errors.Is(err, jetstream.ErrBucketExists) {
			return nil // somebody else was faster
		}
		return err
	})
}

// replicated makes something with the replicas that are asked for. If nobody asked, it
// is three, and where the servers are too few for that, one: two lose their quorum with
// either, and are worse than one.
func (s *Store) replicated(create func(replicas int) error) error {
	if s.cfg.Replicas != 0 {
		return create(s.cfg.Replicas)
	}
	err := create(3)
	if hasCode(err, codeReplicasAlone, codeNoPeers) {
		return create(1)
	}
	return err
}

// inTime spares the upload where the push has lost already. What it reads may be old:
// commit decides.
func (s *Store) inTime(ctx context.Context, expect uint64) error {
	if expect == AnyRevision {
		return nil
	}
	r, err := s.newest(ctx)
	if errors.Is(err, ErrNone) {
		return nil
	}
	if err == nil && r.Number > expect {
		err = s.lost(r, expect)
	}
	return err
}

func (s *Store) lost(newest Revision, expect uint64) error {
	return fmt.Errorf("push definitions of group %s, based on revision %d: %w: revision %d is of %s on %s at %s, %q; read it, and push again on top of it",
		s.cfg.Group, expect, ErrConflict, newest.Number, newest.By(), newest.Host, newest.At.Format(time.RFC3339), newest.Message)
}

// upload puts what is not in the store yet. If it is full, old revisions give way.
func (s *Store) upload(ctx context.Context, contents map[string][]byte) error {
	for sum, data := range contents {
		err := s.put(ctx, sum, data)
		// Of large ones not even keptWhenFull may fit.
		for keep := keptWhenFull; full(err) && keep > 0; keep /= 2 {
			if cerr := s.clear(ctx, keep, 0); cerr != nil && !errors.Is(cerr, ErrNone) {
				return cerr
			}
			err = s.put(ctx, sum, data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) put(ctx context.Context, sum string, data []byte) error {
	return s.call(ctx, "store "+sum, fileTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		files, err := s.objects(ctx, js)
		if err != nil {
			return err
		}
		return files.put(ctx, sum, data)
	})
}

// commit makes the record the newest revision, if expect is.
func (s *Store) commit(ctx context.Context, record []byte, expect uint64) (number uint64, err error) {
	err = s.call(ctx, "store the revision", callTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		kv, err := js.KeyValue(ctx, s.bucket())
		if err != nil {
			return err
		}
		switch expect {
		case AnyRevision:
			number, err = kv.Put(ctx, revisionKey, record)
		case 0:
			number, err = kv.Create(ctx, revisionKey, record)
		default:
			number, err = kv.Update(ctx, revisionKey, record, expect)
		}
		return err
	})
	if err != nil && conflict(err) {
		r, rerr := s.newest(ctx)
		if rerr != nil {
			return 0, fmt.Errorf("push definitions of group %s, based on revision %d: %w", s.cfg.Group, expect, ErrConflict)
		}
		return 0, s.lost(r, expect)
	}
	return number, err
}

const (
	// strayAge is how old a file must be to be cleared away although no revision has
	// it: a push that runs has files before it has a revision.
	strayAge = time.Hour
	// keptWhenFull is how many revisions keep their files when room runs out, if that is
	// enough; the newest does in any case.
	keptWhenFull = 8
)

// clear deletes files that none of the newest revisions has and that are older than age.
func (s *Store) clear(ctx context.Context, keep int, age time.Duration) error {
	return s.call(ctx, "clear old files away", fileTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		revisions, now, err := s.past(ctx, js, keep)
		if err != nil {
			return err
		}
		used := make(map[string]bool)
		for _, r := range revisions {
			used[r.SHA256] = true
			for _, sum := range r.Files {
				used[sum] = true
			}
		}
		files, err := s.objects(ctx, js)
		if err != nil {
			return err
		}
		return files.clear(ctx, used, now, age) // both times are the store's
	})
}
