// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// chunkBytes is the size of the pieces of a file, that of nats.go.
const chunkBytes = 128 << 10

// An objectStore writes and reads files as nats.go's object store lays them out, so that
// the nats command sees them. Writing, it waits for each chunk: nats.go does not, and
// takes a file for stored of which a full store has refused a part. Reading, it asks for
// one chunk after the other: a consumer would deliver wherever its maker likes, which no
// permission forbids.
type objectStore struct {
	jetstream.ObjectStore
	js     jetstream.JetStream
	stream jetstream.Stream
	bucket string
}

func (d *Definitions) objects(ctx context.Context, js jetstream.JetStream) (*objectStore, error) {
	bucket := bucketName(d.group)
	files, err := js.ObjectStore(ctx, bucket)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, "OBJ_"+bucket)
	if err != nil {
		return nil, err
	}
	return &objectStore{files, js, stream, bucket}, nil
}

func (s *objectStore) chunks(id string) string { return "$O." + s.bucket + ".C." + id }
func (s *objectStore) meta(name string) string {
	return "$O." + s.bucket + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}

// put stores a file under its digest, unless it is there.
func (s *objectStore) put(ctx context.Context, sum string, data []byte) error {
	info, err := s.GetInfo(ctx, sum)
	switch {
	case err == nil && info.Size == uint64(len(data)) && info.Digest == objectDigest(sum):
		return nil
	case err == nil:
		if err := s.Delete(ctx, sum); err != nil {
			return err
		}
	case !errors.Is(err, jetstream.ErrObjectNotFound):
		return err
	}
	// The time in it tells how old chunks are that belong to nothing.
	id := fmt.Sprintf("%x-%s", time.Now().Unix(), rand.Text())
	if chunks, err := s.write(ctx, sum, id, data); err != nil {
		if chunks == 0 {
			return err
		}
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		_ = s.stream.Purge(undo, jetstream.WithPurgeSubject(s.chunks(id)))
		return err
	}
	return nil
}

// write returns how many chunks are in the store.
func (s *objectStore) write(ctx context.Context, sum, id string, data []byte) (chunks uint32, err error) {
	for chunk := range slices.Chunk(data, chunkBytes) {
		if _, err := s.js.Publish(ctx, s.chunks(id), chunk); err != nil {
			return chunks, err
		}
		chunks++
	}
	meta, err := json.Marshal(jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: sum, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkBytes}},
		Bucket:     s.bucket, NUID: id, Size: uint64(len(data)), Chunks: chunks, Digest: objectDigest(sum),
	})
	if err != nil {
		return chunks, err
	}
	m := nats.NewMsg(s.meta(sum))
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	m.Data = meta
	_, err = s.js.PublishMsg(ctx, m)
	return chunks, err
}

// objectDigest is the digest as nats.go writes it.
func objectDigest(sum string) string {
	raw, _ := hex.DecodeString(sum) // digestPattern has been matched
	return "SHA-256=" + base64.URLEncoding.EncodeToString(raw)
}

// get is the file with that digest. It trusts nothing in the store.
func (s *objectStore) get(ctx context.Context, sum string) ([]byte, error) {
	info, err := s.GetInfo(ctx, sum)
	if err != nil {
		return nil, err
	}
	if info.Size > MaxFileBytes {
		return nil, fmt.Errorf("%w (%d bytes)", ErrDamaged, info.Size)
	}
	var data bytes.Buffer
	for next := uint64(1); uint64(data.Len()) < info.Size; {
		m, err := s.stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(s.chunks(info.NUID)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, fmt.Errorf("%w (%d of %d bytes are there)", ErrDamaged, data.Len(), info.Size)
		}
		if err != nil {
			return nil, err
		}
		if len(m.Data) == 0 || m.Sequence < next {
			return nil, fmt.Errorf("%w (an empty piece)", ErrDamaged)
		}
		data.Write(m.Data)
		next = m.Sequence + 1
	}
	if got := digest(data.Bytes()); got != sum {
		return nil, fmt.Errorf("%w (its digest is %s)", ErrDamaged, got)
	}
	return data.Bytes(), nil
}

// clear deletes the files that are not used and older than age at the time now of the
// store, and what interrupted pushes have left.
func (s *objectStore) clear(ctx context.Context, used map[string]bool, now time.Time, age time.Duration) error {
	names, err := s.subjects(ctx, s.bucket, "M")
	if err != nil {
		return err
	}
	owned := make(map[string]bool) // ids of chunks
	for _, encoded := range names {
		name, err := base64.URLEncoding.DecodeString(encoded)
		if err != nil {
			continue // none of ours
		}
		info, err := s.GetInfo(ctx, string(name))
		if errors.Is(err, jetstream.ErrObjectNotFound) {
			continue // deleted already
		}
		if err != nil {
			return err
		}
		if used[info.Name] || now.Sub(info.ModTime) < age {
			owned[info.NUID] = true
		} else if err := s.Delete(ctx, info.Name); err != nil {
			return err
		}
	}
	ids, err := s.subjects(ctx, s.bucket, "C")
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !owned[id] && now.Sub(chunkTime(id)) > strayAge {
			if err := s.stream.Purge(ctx, jetstream.WithPurgeSubject(s.chunks(id))); err != nil {
				return err
			}
		}
	}
	return nil
}

// chunkTime is when chunks were written, by the clock of who did; the zero time if they
// are not of put.
func chunkTime(id string) time.Time {
	hexTime, _, _ := strings.Cut(id, "-")
	unix, err := strconv.ParseInt(hexTime, 16, 64)
	if err != nil || unix > time.Now().Add(24*time.Hour).Unix() {
		return time.Time{}
	}
	return time.Unix(unix, 0)
}

// subjects are the last tokens of those that there are of a kind.
func (s *objectStore) subjects(ctx context.Context, bucket, kind string) ([]string, error) {
	prefix := "$O." + bucket + "." + kind + "."
	info, err := s.stream.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return nil, err
	}
	var out []string
	for subject := range info.State.Subjects {
		out = append(out, strings.TrimPrefix(subject, prefix))
	}
	return out, nil
}
