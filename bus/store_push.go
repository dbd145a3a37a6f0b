// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"
)

var digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// check holds a revision against the limits.
func (r *Revision) check() error {
	for _, t := range []struct{ field, text string }{{"who", r.Who}, {"host", r.Host}, {"message", r.Message}} {
		if len(t.text) > maxTextBytes || !utf8.ValidString(t.text) {
			return fmt.Errorf("%s: want at most %d bytes of UTF-8", t.field, maxTextBytes)
		}
	}
	if !digestPattern.MatchString(r.SHA256) {
		return errors.New("sha256: want 64 hexadecimal digits")
	}
	if len(r.Files) > MaxFiles {
		return fmt.Errorf("files: %d of them, want at most %d", len(r.Files), MaxFiles)
	}
	for name, sum := range r.Files {
		if err := checkName(name); err != nil {
			return fmt.Errorf("files: name %w", err)
		}
		if !digestPattern.MatchString(sum) {
			return fmt.Errorf("files: %q: want 64 hexadecimal digits", name)
		}
	}
	return nil
}

// Push stores a document and the files that it names as a new revision, and returns
// that with its number, digests and, if At is missing, time. expect is the number of
// the revision on which it is based, 0 if there must be none, or AnyRevision; if another
// is the newest, the error is ErrConflict and nothing has changed. The files are in the
// store before the revision is.
func (d *Definitions) Push(ctx context.Context, doc []byte, files map[string][]byte, r Revision, expect uint64) (Revision, error) {
	contents, err := r.describe(doc, files)
	if err != nil {
		return Revision{}, fmt.Errorf("push definitions of group %s: %w", d.group, err)
	}
	// The number that it will have is not known; the store says it.
	r.Number = 0
	record, err := json.Marshal(r)
	if err != nil {
		return Revision{}, fmt.Errorf("push definitions of group %s: %w", d.group, err)
	}
	if len(record) > revisionBytes {
		return Revision{}, fmt.Errorf("push definitions of group %s: names and message take %d bytes, want at most %d", d.group, len(record), revisionBytes)
	}
	if err := d.open(ctx); err != nil {
		return Revision{}, err
	}
	if err := d.inTime(ctx, expect); err != nil {
		return Revision{}, err
	}
	if err := d.upload(ctx, contents); err != nil {
		return Revision{}, err
	}
	if r.Number, err = d.commit(ctx, record, expect); err != nil {
		return Revision{}, err
	}
	// Somebody may have cleared away meanwhile what was there already.
	if err := d.upload(ctx, contents); err != nil {
		return Revision{}, fmt.Errorf("revision %d is stored, but not all of its files; push again: %w", r.Number, err)
	}
	if err := d.clear(ctx, history, strayAge); err != nil {
		d.bus.opts.Log.Warn("cannot clear old files away", "part", "bus", "group", d.group, "err", err)
	}
	return r, nil
}

// describe fills in the digests, and returns the contents by digest.
func (r *Revision) describe(doc []byte, files map[string][]byte) (map[string][]byte, error) {
	if len(doc) == 0 || len(doc) > MaxDocumentBytes {
		return nil, fmt.Errorf("document of %d bytes: want 1 to %d", len(doc), MaxDocumentBytes)
	}
	r.SHA256, r.Files = digest(doc), nil
	if r.At.IsZero() {
		r.At = time.Now()
	}
	r.At = r.At.UTC()
	contents := map[string][]byte{r.SHA256: doc}
	for name, data := range files {
		if len(data) == 0 || len(data) > MaxFileBytes {
			return nil, fmt.Errorf("file %q of %d bytes: want 1 to %d", name, len(data), MaxFileBytes)
		}
		sum := digest(data)
		if r.Files == nil {
			r.Files = make(map[string]string, len(files))
		}
		r.Files[name], contents[sum] = sum, data
	}
	return contents, r.check()
}

// open makes the bucket and the store of files, if they are not there.
func (d *Definitions) open(ctx context.Context) error {
	return d.call(ctx, "make the store of definitions", fileTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		name := bucketName(d.group)
		_, err := js.KeyValue(ctx, name)
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			err = d.replicated(func(replicas int) error {
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
			err = d.replicated(func(replicas int) error {
				_, err := js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: name, Description: "steelyard: documents and files of definitions",
					MaxBytes: cmp.Or(d.MaxBytes, DefaultStoreBytes), Storage: jetstream.FileStorage, Replicas: replicas})
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
func (d *Definitions) replicated(create func(replicas int) error) error {
	if d.Replicas != 0 {
		return create(d.Replicas)
	}
	err := create(3)
	if hasCode(err, codeReplicasAlone, codeNoPeers) {
		return create(1)
	}
	return err
}

// inTime spares the upload where the push has lost already. What it reads may be old:
// commit decides.
func (d *Definitions) inTime(ctx context.Context, expect uint64) error {
	if expect == AnyRevision {
		return nil
	}
	r, err := d.newest(ctx)
	if errors.Is(err, ErrNoDefinitions) {
		return nil
	}
	if err == nil && r.Number > expect {
		err = d.lost(r, expect)
	}
	return err
}

func (d *Definitions) lost(newest Revision, expect uint64) error {
	return fmt.Errorf("push definitions of group %s, based on revision %d: %w: revision %d is of %s on %s at %s, %q; read it, and push again on top of it",
		d.group, expect, ErrConflict, newest.Number, newest.Who, newest.Host, newest.At.Format(time.RFC3339), newest.Message)
}

// upload puts what is not in the store yet. If it is full, old revisions give way.
func (d *Definitions) upload(ctx context.Context, contents map[string][]byte) error {
	for sum, data := range contents {
		err := d.put(ctx, sum, data)
		if full(err) {
			if cerr := d.clear(ctx, keptWhenFull, 0); cerr != nil && !errors.Is(cerr, ErrNoDefinitions) {
				return cerr
			}
			err = d.put(ctx, sum, data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *Definitions) put(ctx context.Context, sum string, data []byte) error {
	return d.call(ctx, "store "+sum, fileTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		files, err := d.objects(ctx, js)
		if err != nil {
			return err
		}
		return files.put(ctx, sum, data)
	})
}

// commit makes the record the newest revision, if expect is.
func (d *Definitions) commit(ctx context.Context, record []byte, expect uint64) (number uint64, err error) {
	err = d.call(ctx, "store the revision", callTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		kv, err := js.KeyValue(ctx, bucketName(d.group))
		if err != nil {
			return err
		}
		switch expect {
		case AnyRevision:
			number, err = kv.Put(ctx, definitionsKey, record)
		case 0:
			number, err = kv.Create(ctx, definitionsKey, record)
		default:
			number, err = kv.Update(ctx, definitionsKey, record, expect)
		}
		return err
	})
	if err != nil && conflict(err) {
		r, rerr := d.newest(ctx)
		if rerr != nil {
			return 0, fmt.Errorf("push definitions of group %s, based on revision %d: %w", d.group, expect, ErrConflict)
		}
		return 0, d.lost(r, expect)
	}
	return number, err
}

const (
	// strayAge is how old a file must be to be cleared away although no revision has
	// it: a push that runs has files before it has a revision.
	strayAge = time.Hour
	// keptWhenFull is how many revisions keep their files in any case.
	keptWhenFull = 8
)

// clear deletes files that none of the newest revisions has and that are older than age.
func (d *Definitions) clear(ctx context.Context, keep int, age time.Duration) error {
	return d.call(ctx, "clear old files away", fileTimeout, func(ctx context.Context, js jetstream.JetStream) error {
		revisions, now, err := d.past(ctx, js, keep)
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
		files, err := d.objects(ctx, js)
		if err != nil {
			return err
		}
		return files.clear(ctx, used, now, age) // both times are the store's
	})
}
