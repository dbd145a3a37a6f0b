// SPDX-License-Identifier: Apache-2.0

package nlmsg

import (
	"bytes"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// build is a message of a type with these values as attributes 1, 2, ….
func build(b []byte, typ uint16, seq uint32, values ...string) []byte {
	b, start := Begin(b, typ, unix.NLM_F_DUMP, seq)
	for i, v := range values {
		b = AppendAttr(b, uint16(i+1), []byte(v))
	}
	return End(b, start)
}

func TestRoundTrip(t *testing.T) {
	b := build(nil, 7, 1, "a", "", "four")
	b = build(b, 8, 2, "nul\x00")
	m := Messages{Rest: b}
	if !m.Next() || m.Type != 7 || m.Seq != 1 || m.Flags != unix.NLM_F_REQUEST|unix.NLM_F_DUMP {
		t.Fatalf("first message: %+v", m)
	}
	var got []string
	a := Attrs{Rest: m.Body}
	for a.Next() {
		got = append(got, string(a.Value))
	}
	if want := []string{"a", "", "four"}; !slices.Equal(got, want) || a.Err != nil {
		t.Errorf("attributes %q (%v), want %q", got, a.Err, want)
	}
	if v := Find(m.Body, 3); string(v) != "four" || Find(m.Body, 4) != nil {
		t.Errorf("attribute 3 is %q, 4 is %v", v, Find(m.Body, 4))
	}
	if !m.Next() || m.Seq != 2 || Text(Find(m.Body, 1)) != "nul" {
		t.Errorf("second message: %+v", m)
	}
	if m.Next() {
		t.Error("a third message")
	}
}

func TestBroken(t *testing.T) {
	whole := build(nil, 7, 1, "value")
	for n := range whole {
		if m := (Messages{Rest: whole[:n]}); m.Next() {
			t.Errorf("the first %d of %d bytes are a message", n, len(whole))
		}
	}
	for _, tt := range []struct {
		name string
		raw  []byte
		err  error
	}{
		{"padding", []byte{0, 0, 0}, nil},
		{"longer than what is left", []byte{9, 0, 1, 0, 1, 2, 3, 4}, errShort},
		{"shorter than its header", []byte{3, 0, 1, 0}, errShort},
		{"of no length", []byte{0, 0, 1, 0}, errShort},
	} {
		a := Attrs{Rest: tt.raw}
		if a.Next() || a.Err != tt.err {
			t.Errorf("%s: error %v, want %v", tt.name, a.Err, tt.err)
		}
		if _, _, rest, ok := Attr(tt.raw); ok || len(rest) > 0 {
			t.Errorf("%s: is an attribute", tt.name)
		}
	}
}

func TestErrors(t *testing.T) {
	complaint := build([]byte{0xea, 0xff, 0xff, 0xff}, 7, 1) // -EINVAL, and the request it is about
	sentence := AppendAttr(nil, unix.NLMSGERR_ATTR_MSG, []byte("no such thing\x00"))
	if e := Errno(complaint); e != unix.EINVAL {
		t.Errorf("errno %v, want %v", e, unix.EINVAL)
	}
	if e := Errno([]byte{0, 0, 0, 0}); e != 0 {
		t.Errorf("errno %v of success", e)
	}
	for _, flags := range []uint16{unix.NLM_F_ACK_TLVS, unix.NLM_F_ACK_TLVS | unix.NLM_F_CAPPED} {
		if got := ErrorText(slices.Concat(complaint, sentence), flags); got != "no such thing" {
			t.Errorf("flags %#x: %q", flags, got)
		}
	}
	if got := ErrorText(slices.Concat(complaint, sentence), 0); got != "" {
		t.Errorf("without the flag: %q", got)
	}
}

// FuzzMessages: whatever the bytes are, the walks end, and what they return lies
// within the bytes.
func FuzzMessages(f *testing.F) {
	f.Add(build(build(nil, 7, 1, "a", "four"), 8, 2))
	f.Add(build([]byte{0xea, 0xff, 0xff, 0xff}, unix.NLMSG_ERROR, 1, "sentence\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		left := len(data)
		for m := (Messages{Rest: data}); m.Next(); {
			if len(m.Rest) > left-HeaderLen {
				t.Fatalf("%d bytes left of %d", len(m.Rest), left)
			}
			left = len(m.Rest)
			Errno(m.Body)
			for _, flags := range []uint16{m.Flags, 0xffff} {
				ErrorText(m.Body, flags)
			}
			for a := (Attrs{Rest: m.Body}); a.Next(); {
				if !bytes.Contains(m.Body, a.Value) {
					t.Fatal("a value that is not of the message")
				}
				Text(a.Value)
			}
		}
	})
}
