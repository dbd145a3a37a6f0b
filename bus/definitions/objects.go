// SPDX-License-Identifier: Apache-2.0

package definitions

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

// objects writes and reads files as nats.go's object store lays them out, so that
// the nats command sees them. Writing, it waits for each chunk: nats.go does not, and
// takes a file for stored of which a full store has refused a part. Reading, it asks for
// one chunk after the other: a consumer would deliver wherever its maker likes, which no
// permission forbids.
type objects struct {
	jetstream.ObjectStore
	js     jetstream.JetStream
	stream jetstream.Stream
	bucket string
}

func (s *Store) objects(ctx context.Context, js jetstream.JetStream) (*objects, error) {
	bucket := s.bucket()
	files, err := js.ObjectStore(ctx, bucket)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, "OBJ_"+bucket)
	if err != nil {
		return nil, err
	}
	return &objects{files, js, stream, bucket}, nil
}

func (o *objects) chunks(id string) string { return "$O." + o.bucket + ".C." + id }
func (o *objects) meta(name string) string {
	return "$O." + o.bucket + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}

// put stores a file under its digest, unless it is there.
func (o *objects) put(ctx context.Context, sum string, data []byte) error {
	info, err := o.GetInfo(ctx, sum)
	switch {
	case err == nil && info.Size == uint64(len(data)) && info.Digest == objectDigest(sum):
		return nil
	case err == nil:
		if err := o.Delete(ctx, sum); err != nil {
			return err
		}
	case !errors.Is(err, jetstream.ErrObjectNotFound):
		return err
	}
	// The time in it tells how old chunks are that belong to nothing.
	id := fmt.Sprintf("%x-%s", time.Now().Unix(), rand.Text())
	if chunks, err := o.write(ctx, sum, id, data); err != nil {
		if chunks == 0 {
			return err
		}
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		_ = o.stream.Purge(undo, jetstream.WithPurgeSubject(o.chunks(id)))
		return err
	}
	return nil
}

// write returns how many chunks are in the store.
func (o *objects) write(ctx context.Context, sum, id string, data []byte) (chunks uint32, err error) {
	for chunk := range slices.Chunk(data, chunkBytes) {
		if _, err := o.js.Publish(ctx, o.chunks(id), chunk); err != nil {
			return chunks, err
		}
		chunks++
	}
	meta, err := json.Marshal(jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: sum, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkBytes}},
		Bucket:     o.bucket, NUID: id, Size: uint64(len(data)), Chunks: chunks, Digest: objectDigest(sum),
	})
	if err != nil {
		return chunks, err
	}
	m := nats.NewMsg(o.meta(sum))
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	m.Data = meta
	_, err = o.js.PublishMsg(ctx, m)
	return chunks, err
}

// objectDigest is the digest as nats.go writes it.
func objectDigest(sum string) string {
	raw, _ := hex.DecodeString(sum) // digestPattern has been matched
	return "SHA-256=" + base64.URLEncoding.EncodeToString(raw)
}

// get is the file with that digest. It trusts nothing in the store.
func (o *objects) get(ctx context.Context, sum string) ([]byte, error) {
	info, err := o.GetInfo(ctx, sum)
	if err != nil {
		return nil, err
	}
	if info.Size > MaxFileBytes {
		return nil, fmt.Errorf("%w (%d bytes)", ErrDamaged, info.Size)
	}
	var data bytes.Buffer
	for next := uint64(1); uint64(data.Len()) < info.Size; {
		m, err := o.stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(o.chunks(info.NUID)))
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
func (o *objects) clear(ctx context.Context, used map[string]bool, now time.Time, age time.Duration) error {
	names, err := o.subjects(ctx, o.bucket, "M")
	if err != nil {
		return err
	}
	owned := make(map[string]bool) // ids of chunks
	for _, encoded := range names {
		name, err := base64.URLEncoding.DecodeString(encoded)
		if err != nil {
			continue // none of ours
		}
		info, err := o.GetInfo(ctx, string(name))
		if errors.Is(err, jetstream.ErrObjectNotFound) {
			continue // deleted already
		}
		if err != nil {
			return err
		}
		if used[info.Name] || now.Sub(info.ModTime) < age {
			owned[info.NUID] = true
		} else if err := o.Delete(ctx, info.Name); err != nil {
			return err
		}
	}
	ids, err := o.subjects(ctx, o.bucket, "C")
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !owned[id] && now.Sub(chunkTime(id)) > strayAge {
			if err := o.stream.Purge(ctx, jetstream.WithPurgeSubject(o.chunks(id))); err != nil {
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
func (o *objects) subjects(ctx context.Context, bucket, kind string) ([]string, error) {
	prefix := "$O." + bucket + "." + kind + "."
	info, err := o.stream.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return nil, err
	}
	var out []string
	for subject := range info.State.Subjects {
		out = append(out, strings.TrimPrefix(subject, prefix))
	}
	return out, nil
}
