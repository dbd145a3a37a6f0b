// SPDX-License-Identifier: Apache-2.0

package definitions_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/bus/definitions"
)

// jetStream is the configuration of a server that keeps things in dir.
func jetStream(dir string) string {
	return fmt.Sprintf("jetstream {store_dir: %q, max_mem: 16MB, max_file: 256MB}\n", dir)
}

// at is the store of group edge, as a node sees it.
func at(node string, port int, login bus.Login) *definitions.Store {
	return definitions.New(config(node, port, login))
}

func config(node string, port int, login bus.Login) definitions.Config {
	return definitions.Config{Group: "edge", Node: node, Servers: []string{fmt.Sprintf("nats://127.0.0.1:%d", port)}, Login: login}
}

func open(t *testing.T, node string, port int) *definitions.Store {
	t.Helper()
	d := at(node, port, bus.Login{})
	t.Cleanup(d.Close)
	return d
}

// patience is how long a test waits for what should come at once.
const patience = 30 * time.Second

func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("nothing came within %v", patience)
		panic("not reached")
	}
}

// eventually waits for a condition that another goroutine makes true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	for tick := time.NewTicker(time.Millisecond); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func push(t *testing.T, d *definitions.Store, doc string, files map[string][]byte, expect uint64) definitions.Revision {
	t.Helper()
	r, err := d.Push(t.Context(), []byte(doc), files, definitions.Revision{Who: "alice", Host: "desk", Message: "why not"}, expect)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDefinitions(t *testing.T) {
	port, dir := bustest.FreePort(t), t.TempDir()
	stop := bustest.Serve(t, port, jetStream(dir))
	d := open(t, "lb1", port)
	if _, _, err := d.Latest(t.Context()); !errors.Is(err, definitions.ErrNone) {
		t.Fatalf("before the first push: %v, want %v", err, definitions.ErrNone)
	}
	policy := bytes.Repeat([]byte("wasm"), 100_000) // several chunks
	first := push(t, d, "services: 1", map[string][]byte{"p.wasm": policy, "same.wasm": policy}, 0)
	second := push(t, d, "services: 2", map[string][]byte{"p.wasm": policy}, first.Number)
	if first.Number != 1 || second.Number != 2 || first.SHA256 == second.SHA256 || first.At.IsZero() {
		t.Errorf("got revisions %+v, %+v", first, second)
	}

	stop()
	bustest.Serve(t, port, jetStream(dir))
	other := open(t, "lb2", port)
	r, doc, err := other.Latest(t.Context())
	if err != nil || string(doc) != "services: 2" {
		t.Fatalf("got %q, %v", doc, err)
	}
	if diff := cmp.Diff(second, r); diff != "" {
		t.Errorf("-pushed +read\n%s", diff)
	}
	if r, doc, err = other.Get(t.Context(), 1); err != nil || string(doc) != "services: 1" || r.Number != 1 {
		t.Errorf("revision 1: %+v, %q, %v", r, doc, err)
	}
	if _, _, err := other.Get(t.Context(), 3); !errors.Is(err, definitions.ErrNone) {
		t.Errorf("revision 3: %v", err)
	}
	if data, err := other.File(t.Context(), first.Files["p.wasm"]); err != nil || !bytes.Equal(data, policy) {
		t.Errorf("the file: %d bytes, %v", len(data), err)
	}
	all, err := other.History(t.Context())
	if diff := cmp.Diff([]definitions.Revision{second, first}, all); err != nil || diff != "" {
		t.Errorf("history: %v, -want +got\n%s", err, diff)
	}
	// The connection that was there when the server went away works again.
	eventually(t, "the first one reads again", func() bool { _, _, err := d.Latest(t.Context()); return err == nil })
}

func TestPushConflicts(t *testing.T) {
	port := bustest.FreePort(t)
	bustest.Serve(t, port, jetStream(t.TempDir()))
	d := open(t, "lb1", port)
	push(t, d, "one", nil, definitions.AnyRevision)
	push(t, d, "two", nil, definitions.AnyRevision)
	for _, expect := range []uint64{0, 1, 3} {
		_, err := d.Push(t.Context(), []byte("late"), nil, definitions.Revision{}, expect)
		if !errors.Is(err, definitions.ErrConflict) || !strings.Contains(err.Error(), "revision 2 is of alice on desk") {
			t.Errorf("based on %d: %v, want a conflict with revision 2 of alice", expect, err)
		}
	}
	// Of many who push on top of the same revision, one comes through.
	var wg sync.WaitGroup
	results := make(chan error, 8)
	for i := range 8 {
		racer := open(t, fmt.Sprint("racer", i), port)
		wg.Go(func() {
			_, err := racer.Push(t.Context(), fmt.Appendf(nil, "racer %d", i), nil, definitions.Revision{}, 2)
			results <- err
		})
	}
	wg.Wait()
	close(results)
	won := 0
	for err := range results {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, definitions.ErrConflict):
			t.Error(err)
		}
	}
	if r, _, err := d.Latest(t.Context()); won != 1 || err != nil || r.Number != 3 {
		t.Errorf("%d came through, and the newest is %d, %v", won, r.Number, err)
	}
}

// store is the JetStream beside Definitions, as somebody else has it.
func store(t *testing.T, port int, opts ...nats.Option) (jetstream.KeyValue, jetstream.ObjectStore, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", port), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "STEELYARD_edge")
	if err != nil {
		t.Fatal(err)
	}
	files, err := js.ObjectStore(t.Context(), "STEELYARD_edge")
	if err != nil {
		t.Fatal(err)
	}
	return kv, files, js
}

// TestDamagedStore: what is not what was pushed is never handed out.
func TestDamagedStore(t *testing.T) {
	port := bustest.FreePort(t)
	bustest.Serve(t, port, jetStream(t.TempDir()))
	d := open(t, "lb1", port)
	r := push(t, d, "services", map[string][]byte{"p.wasm": []byte("policy")}, 0)
	kv, files, _ := store(t, port)
	if _, err := files.PutBytes(t.Context(), r.Files["p.wasm"], []byte("hostile")); err != nil {
		t.Fatal(err)
	}
	if data, err := d.File(t.Context(), r.Files["p.wasm"]); !errors.Is(err, definitions.ErrDamaged) {
		t.Errorf("got %q, %v; want %v", data, err, definitions.ErrDamaged)
	}
	if _, doc, err := d.Latest(t.Context()); err != nil || string(doc) != "services" {
		t.Errorf("the document is whole: %q, %v", doc, err)
	}
	if err := files.Delete(t.Context(), r.SHA256); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Latest(t.Context()); !errors.Is(err, definitions.ErrDamaged) {
		t.Errorf("without its document: %v, want %v", err, definitions.ErrDamaged)
	}
	// A push repairs both.
	push(t, d, "services", map[string][]byte{"p.wasm": []byte("policy")}, r.Number)
	if data, err := d.File(t.Context(), r.Files["p.wasm"]); err != nil || string(data) != "policy" {
		t.Errorf("after the next push: %q, %v", data, err)
	}
	for _, junk := range []string{"", "{", "{}", `{"sha256":"../x"}`, "[]", `{"sha256":"` + r.SHA256 + `","files":{"":"x"}}`} {
		if _, err := kv.Put(t.Context(), "definitions", []byte(junk)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Latest(t.Context()); !errors.Is(err, definitions.ErrDamaged) {
			t.Errorf("with the record %q: %v, want %v", junk, err, definitions.ErrDamaged)
		}
	}
}

// TestFullStore: a store without room takes files again when old revisions have given
// theirs away, and says what to do if that is not enough. What is stored stays.
func TestFullStore(t *testing.T) {
	port := bustest.FreePort(t)
	bustest.Serve(t, port, jetStream(t.TempDir()))
	small := config("lb1", port, bus.Login{})
	small.MaxBytes = 3 << 20
	d := definitions.New(small)
	defer d.Close()
	file := func(i int) map[string][]byte {
		return map[string][]byte{"p": bytes.Repeat([]byte{byte(i)}, 256<<10)}
	}
	var r definitions.Revision
	for i := range 20 { // 5 MB
		r = push(t, d, fmt.Sprint("services: ", i), file(i), definitions.AnyRevision)
	}
	if _, err := d.File(t.Context(), r.Files["p"]); err != nil {
		t.Error(err)
	}
	if _, _, err := d.Get(t.Context(), 1); !errors.Is(err, definitions.ErrDamaged) {
		t.Errorf("revision 1: %v, want that its document is gone", err)
	}
	// So large that not even eight revisions have room.
	for i := range 10 {
		r = push(t, d, strings.Repeat(fmt.Sprint(i), 700<<10), nil, definitions.AnyRevision)
		if _, doc, err := d.Latest(t.Context()); err != nil || len(doc) != 700<<10 {
			t.Fatalf("large document %d: %d bytes, %v", i, len(doc), err)
		}
	}
	_, err := d.Push(t.Context(), []byte("big"), map[string][]byte{"p": make([]byte, 4<<20)}, definitions.Revision{}, definitions.AnyRevision)
	if err == nil || !strings.Contains(err.Error(), "the store is full: give the servers more room") {
		t.Errorf("4 MB into 3 MB: %v", err)
	}
	if got, _, err := d.Latest(t.Context()); err != nil || got.Number != r.Number {
		t.Errorf("the newest is revision %d, %v; want %d", got.Number, err, r.Number)
	}
}

// TestHistoryIsBounded: what no revision has any more is cleared away, but not before it
// is old, since a push that runs has files without a revision.
func TestHistoryIsBounded(t *testing.T) {
	port := bustest.FreePort(t)
	bustest.Serve(t, port, jetStream(t.TempDir()))
	d := open(t, "lb1", port)
	var last uint64
	for i := range 70 {
		last = push(t, d, fmt.Sprint("services: ", i), nil, last).Number
	}
	all, err := d.History(t.Context())
	if err != nil || len(all) != 64 || all[0].Number != 70 || all[63].Number != 7 {
		t.Errorf("%d revisions of 64, %v", len(all), err)
	}
	_, files, _ := store(t, port)
	if objects, err := files.List(t.Context()); err != nil || len(objects) != 70 {
		t.Errorf("%d documents, %v; want those of the last hour", len(objects), err)
	}
}

func TestWhatCannotBePushed(t *testing.T) {
	port := bustest.FreePort(t)
	bustest.Serve(t, port, jetStream(t.TempDir()))
	d := open(t, "lb1", port)
	many := make(map[string][]byte)
	for i := range 257 {
		many[fmt.Sprint(i)] = []byte("x")
	}
	tests := []struct {
		name  string
		doc   []byte
		files map[string][]byte
		r     definitions.Revision
		want  string
	}{
		{"no document", nil, nil, definitions.Revision{}, "document of 0 bytes"},
		{"large document", make([]byte, definitions.MaxDocumentBytes+1), nil, definitions.Revision{}, "document of 16777217 bytes: want 1 to 16777216 (16 MiB); name long lists"},
		{"large file", []byte("x"), map[string][]byte{"p": make([]byte, definitions.MaxFileBytes+1)}, definitions.Revision{}, `file "p" of 16777217 bytes`},
		{"empty file", []byte("x"), map[string][]byte{"p": nil}, definitions.Revision{}, `file "p" of 0 bytes`},
		{"nameless file", []byte("x"), map[string][]byte{"": []byte("x")}, definitions.Revision{}, "name is missing"},
		{"many files", []byte("x"), many, definitions.Revision{}, "257 of them"},
		{"long message", []byte("x"), nil, definitions.Revision{Message: strings.Repeat("x", 1025)}, "message: want at most 1024 bytes"},
	}
	for _, tt := range tests {
		if _, err := d.Push(t.Context(), tt.doc, tt.files, tt.r, 0); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", tt.name, err, tt.want)
		}
	}
	if _, _, err := d.Latest(t.Context()); !errors.Is(err, definitions.ErrNone) {
		t.Errorf("after nothing but refusals: %v, want %v", err, definitions.ErrNone)
	}
	big := push(t, d, strings.Repeat("x", definitions.MaxDocumentBytes), map[string][]byte{"p": make([]byte, definitions.MaxFileBytes)}, 0)
	if data, err := d.File(t.Context(), big.Files["p"]); err != nil || len(data) != definitions.MaxFileBytes {
		t.Errorf("the largest file: %d bytes, %v", len(data), err)
	}
	if _, doc, err := d.Latest(t.Context()); err != nil || len(doc) != definitions.MaxDocumentBytes {
		t.Errorf("the largest document: %d bytes, %v", len(doc), err)
	}
	for _, sum := range []string{"", "x", strings.ToUpper(big.SHA256), big.SHA256 + "0"} {
		if _, err := d.File(t.Context(), sum); err == nil {
			t.Errorf("file %q: no error", sum)
		}
	}
}

// TestStoreThatIsNotThere: each error says what is missing and what to do.
func TestStoreThatIsNotThere(t *testing.T) {
	plain, secured := bustest.FreePort(t), bustest.FreePort(t)
	bustest.Serve(t, plain, "")
	bustest.Serve(t, secured, jetStream(t.TempDir())+`authorization {users: [
		{user: lb, password: secret, permissions: {publish: ["steelyard.>"], subscribe: ["_INBOX_lb1.>"]}}]}`)
	login := bus.Login{User: "lb", Password: "secret"}
	tests := []struct {
		name string
		d    *definitions.Store
		want string
	}{
		{"no JetStream", at("lb1", plain, bus.Login{}), "enable JetStream"},
		{"no server", at("lb1", bustest.FreePort(t), bus.Login{}), "see that its servers run"},
		{"wrong password", at("lb1", secured, bus.Login{User: "lb", Password: "x"}), "Authorization Violation"},
		{"no permission", at("lb1", secured, login), "give the user the permissions of the roles follower (to read) and pusher"},
		{"only the one inside", definitions.New(definitions.Config{Group: "edge", Node: "lb1"}), "there is no external NATS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := tt.d
			defer d.Close()
			_, _, err := d.Latest(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("read: %v, want %q in it", err, tt.want)
			}
			if _, err = d.Push(t.Context(), []byte("x"), nil, definitions.Revision{}, 0); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("push: %v, want %q in it", err, tt.want)
			}
		})
	}
	if _, _, err := definitions.New(definitions.Config{Group: "a.b", Node: "lb1"}).Latest(t.Context()); err == nil || !strings.Contains(err.Error(), `group "a.b"`) {
		t.Errorf("a group with a dot: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := at("lb1", plain, bus.Login{}).Latest(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestWatch: a follower hears of each push soon, whatever comes and goes.
func TestWatch(t *testing.T) {
	port, dir := bustest.FreePort(t), t.TempDir()
	follower := open(t, "lb1", port)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan definitions.Revision, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		follower.Watch(ctx, func(r definitions.Revision) bool { got <- r; return true })
	}()

	stop := bustest.Serve(t, port, jetStream(dir)) // later than the follower
	d := open(t, "lb2", port)
	want := push(t, d, "one", nil, 0)
	if diff := cmp.Diff(want, next(t, got)); diff != "" {
		t.Errorf("-pushed +seen\n%s", diff)
	}
	want = push(t, d, "two", nil, 1)
	if r := next(t, got); r.Number != 2 {
		t.Errorf("saw revision %d, want 2", r.Number)
	}
	stop()
	bustest.Serve(t, port, jetStream(dir))
	eventually(t, "the next push", func() bool {
		_, err := d.Push(t.Context(), []byte("three"), nil, definitions.Revision{}, 2)
		return err == nil || errors.Is(err, definitions.ErrConflict)
	})
	if r := next(t, got); r.Number != 3 {
		t.Errorf("saw revision %d, want 3", r.Number)
	}
	// Made anew, the store counts from 1 again.
	_, _, js := store(t, port)
	if err := js.DeleteKeyValue(t.Context(), "STEELYARD_edge"); err != nil {
		t.Fatal(err)
	}
	push(t, d, "four", nil, 0)
	if r := next(t, got); r.Number != 1 || r.SHA256 == want.SHA256 {
		t.Errorf("saw %+v, want revision 1 of the new store", r)
	}
	cancel()
	next(t, done)
	if len(got) > 0 {
		t.Errorf("saw %+v, too", <-got)
	}
}

// TestWatchAgain: a revision that the follower is not done with is not lost until the
// next push.
func TestWatchAgain(t *testing.T) {
	port := bustest.FreePort(t)
	bustest.Serve(t, port, jetStream(t.TempDir()))
	d := open(t, "lb1", port)
	push(t, d, "one", nil, 0)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan uint64, 16)
	done := make(chan struct{})
	tries := 0
	go func() {
		defer close(done)
		d.Watch(ctx, func(r definitions.Revision) bool {
			got <- r.Number
			tries++
			return tries == 3
		})
	}()
	for range 3 {
		if n := next(t, got); n != 1 {
			t.Errorf("saw revision %d, want 1", n)
		}
	}
	push(t, d, "two", nil, 1)
	if n := next(t, got); n != 2 {
		t.Errorf("saw revision %d, want 2: what it is done with comes once", n)
	}
	cancel()
	next(t, done)
}

// TestSmallPayload: a server that takes smaller messages than the pieces of a file is
// named as the cause.
func TestSmallPayload(t *testing.T) {
	port := bustest.FreePort(t)
	bustest.Serve(t, port, jetStream(t.TempDir())+"max_payload: 65536\n")
	d := open(t, "lb1", port)
	_, err := d.Push(t.Context(), make([]byte, 100<<10), nil, definitions.Revision{}, 0)
	if err == nil || !strings.Contains(err.Error(), "raise max_payload of the servers") {
		t.Errorf("a document of 100 KiB: %v", err)
	}
	if _, _, err := d.Latest(t.Context()); !errors.Is(err, definitions.ErrNone) {
		t.Errorf("after the refusal: %v, want %v", err, definitions.ErrNone)
	}
}

func FuzzRevision(f *testing.F) {
	f.Add([]byte(`{"who":"alice","login":"deploy","sha256":"` + strings.Repeat("a", 64) + `","files":{"p":"` + strings.Repeat("b", 64) + `"}}`))
	f.Add([]byte(`{"files":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := definitions.CheckRevision(data); err == nil && len(data) > 64<<10 {
			t.Error("taken although it is too large")
		}
	})
}
