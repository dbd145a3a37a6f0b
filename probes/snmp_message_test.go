// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/gosnmp/gosnmp"
	"pgregory.net/rapid"
)

// codec is gosnmp, whose idea of a message ours is held against.
func codec(v gosnmp.SnmpVersion) *gosnmp.GoSNMP {
	return &gosnmp.GoSNMP{Version: v, Community: "c", MaxOids: 100}
}

// TestRequestIsRead: gosnmp reads what we write as what we meant.
func TestRequestIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := request{
			version:   rapid.SampledFrom([]gosnmp.SnmpVersion{gosnmp.Version1, gosnmp.Version2c}).Draw(t, "version"),
			community: rapid.StringN(1, 200, 300).Draw(t, "community"),
			kind:      rapid.SampledFrom([]gosnmp.PDUType{gosnmp.GetRequest, gosnmp.GetNextRequest}).Draw(t, "kind"),
			id:        newRequestID(),
			oids:      rapid.SliceOfN(rapid.Custom(anyOID), 1, 60).Draw(t, "oids"),
		}
		packet, err := r.appendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := codec(r.version).SnmpDecodePacket(packet)
		if err != nil {
			t.Fatalf("gosnmp: %v of %x", err, packet)
		}
		if got.Version != r.version || got.Community != r.community || got.PDUType != r.kind || got.RequestID != r.id || len(got.Variables) != len(r.oids) {
			t.Fatalf("read as %+v, want %+v", got, r)
		}
		for i, v := range got.Variables {
			if v.Name != r.oids[i] || v.Type != gosnmp.Null {
				t.Errorf("variable %d read as %+v, want %s", i, v, r.oids[i])
			}
		}
	})
}

func anyOID(t *rapid.T) string {
	oid := ".1.3"
	for range rapid.IntRange(1, 20).Draw(t, "arcs") {
		oid += "." + rapid.StringMatching(`0|[1-9][0-9]{0,8}`).Draw(t, "arc")
	}
	return oid
}

func TestOIDs(t *testing.T) {
	for _, tt := range []struct{ in, ber string }{
		{"1.3.6.1.2.1.1.3.0", "2b060102010103 00"},
		{".1.3.6.1.4.1.2021.11.50.0", "2b060104018f650b3200"},
		{"0.0", "00"},
		{"2.999", "8837"},
		{"1.3.4294967295", "2b8fffffff7f"},
		{"", ""}, {".", ""}, {"1", ""}, {"1.40", ""}, {"3.1", ""}, {"1.3.", ""}, {"1..3", ""}, {"1.3.-1", ""},
		{"1.3.4294967296", ""}, {"sysUpTime.0", ""}, {"1.3" + strings.Repeat(".1", maxArcs), ""},
	} {
		want, _ := hex.DecodeString(strings.ReplaceAll(tt.ber, " ", ""))
		got, err := appendOID(nil, tt.in)
		if (err == nil) != (len(want) > 0) || err == nil && !bytes.Equal(got, want) {
			t.Errorf("%q: got %x, %v; want %x", tt.in, got, err, want)
		}
		if err != nil {
			continue
		}
		if back, ok := oidText(got); !ok || back != "."+strings.TrimPrefix(tt.in, ".") {
			t.Errorf("%q came back as %q, %t", tt.in, back, ok)
		}
	}
	for _, ber := range []string{"", "80", "2b80", "2bffffffffffff7f", "2b" + strings.Repeat("01", maxArcs)} {
		b, _ := hex.DecodeString(ber)
		if text, ok := oidText(b); ok {
			t.Errorf("%s was read as %s", ber, text)
		}
	}
}

func TestOIDLess(t *testing.T) {
	sorted := []string{".1.3.6", ".1.3.6.1", ".1.3.6.1.2", ".1.3.6.1.9", ".1.3.6.1.10", ".1.3.6.1.10.1", ".1.3.7"}
	for i, a := range sorted {
		for k, b := range sorted {
			if got := oidLess(a, b); got != (i < k) {
				t.Errorf("%s before %s: %t", a, b, got)
			}
		}
	}
}

// reply packets as net-snmp and others send them
func seedReplies(tb testing.TB) [][]byte {
	tb.Helper()
	values := []gosnmp.SnmpPDU{
		{Name: ".1.3.6.1.2.1.1.3.0", Type: gosnmp.TimeTicks, Value: uint32(12345)},
		{Name: ".1.3.6.1.4.1.2021.11.50.0", Type: gosnmp.Counter32, Value: uint(math.MaxUint32)},
		{Name: ".1.3.6.1.4.1.2021.10.1.5.1", Type: gosnmp.Integer, Value: -42},
		{Name: ".1.3.6.1.2.1.31.1.1.1.6.1", Type: gosnmp.Counter64, Value: uint64(math.MaxUint64)},
		{Name: ".1.3.6.1.4.1.2021.10.1.3.1", Type: gosnmp.OctetString, Value: []byte("0.35")},
		{Name: ".1.3.6.1.4.1.2021.10.1.6.1", Type: gosnmp.OpaqueFloat, Value: float32(0.35)},
		{Name: ".1.3.6.1.4.1.2021.13.1", Type: gosnmp.OpaqueDouble, Value: 1e300},
		{Name: ".1.3.6.1.2.1.2.2.1.5.1", Type: gosnmp.Gauge32, Value: uint(1e9)},
		{Name: ".1.3.6.1.2.1.1.99.0", Type: gosnmp.NoSuchObject},
		{Name: ".1.3.6.1.2.1.1.98.0", Type: gosnmp.NoSuchInstance},
		{Name: ".1.3.6.1.2.1.1.97.0", Type: gosnmp.EndOfMibView},
		{Name: ".1.3.6.1.2.1.1.2.0", Type: gosnmp.ObjectIdentifier, Value: ".1.3.6.1.4.1.8072.3.2.10"},
		{Name: ".1.3.6.1.2.1.4.20.1.1.127.0.0.1", Type: gosnmp.IPAddress, Value: "127.0.0.1"},
	}
	var out [][]byte
	for _, vars := range [][]gosnmp.SnmpPDU{values, values[:1], nil} {
		p := &gosnmp.SnmpPacket{Version: gosnmp.Version2c, Community: "c", PDUType: gosnmp.GetResponse, RequestID: 1<<24 + 7, Variables: vars}
		packet, err := p.MarshalMsg()
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, packet)
	}
	return out
}

// TestReplyIsReadAsByGosnmp checks one of each type.
func TestReplyIsReadAsByGosnmp(t *testing.T) {
	for _, packet := range seedReplies(t) {
		if !sameReply(t, packet) {
			t.Errorf("%x was not read", packet)
		}
	}
}

// sameReply holds a packet against gosnmp and says whether we read it.
func sameReply(t *testing.T, packet []byte) bool {
	t.Helper()
	got, err := decodeReply(packet, gosnmp.Version2c, "c", nil)
	if err != nil {
		return false
	}
	want, err := codec(gosnmp.Version2c).SnmpDecodePacket(bytes.Clone(packet))
	if err != nil {
		t.Fatalf("gosnmp refuses with %v what we read as %+v: %x", err, got, packet)
	}
	if got.id != want.RequestID || got.status != want.Error || got.index != int(want.ErrorIndex) || len(got.vars) != len(want.Variables) {
		t.Fatalf("got %+v, want %+v of %x", got, want, packet)
	}
	for i, v := range got.vars {
		w := want.Variables[i]
		if v.Name != w.Name || v.Type != w.Type {
			t.Errorf("variable %d: got %+v, want %+v", i, v, w)
		}
		if v.Value == nil && w.Type != gosnmp.OctetString {
			continue // what is no number we do not read
		}
		n, err1 := numberOf(v)
		m, err2 := numberOf(w)
		if n != m || (err1 == nil) != (err2 == nil) {
			t.Errorf("variable %d: got %v (%v), want %v (%v) of %x", i, n, err1, m, err2, packet)
		}
	}
	return true
}

// FuzzDecodeReply: no packet makes us panic, or read something else than gosnmp
// does. We may refuse more than it does.
func FuzzDecodeReply(f *testing.F) {
	for _, packet := range seedReplies(f) {
		f.Add(packet)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		if hasOddType(packet) {
			_, _ = decodeReply(packet, gosnmp.Version2c, "c", nil)
			return
		}
		sameReply(t, packet)
	})
}

// hasOddType reports values that gosnmp reads in ways of its own; we know of none
// that an agent of today sends.
func hasOddType(packet []byte) bool {
	r, err := decodeReply(packet, gosnmp.Version2c, "c", nil)
	if err != nil {
		return false
	}
	for _, v := range r.vars {
		switch v.Type {
		case gosnmp.Integer, gosnmp.Counter32, gosnmp.Gauge32, gosnmp.TimeTicks, gosnmp.Counter64, gosnmp.OctetString,
			gosnmp.OpaqueFloat, gosnmp.OpaqueDouble, gosnmp.Null, gosnmp.NoSuchObject, gosnmp.NoSuchInstance, gosnmp.EndOfMibView:
		default:
			return true
		}
	}
	return false
}

func TestDecodeReplyRefuses(t *testing.T) {
	good := seedReplies(t)[0]
	if _, err := decodeReply(good, gosnmp.Version1, "c", nil); err == nil {
		t.Error("another version was read")
	}
	if _, err := decodeReply(good, gosnmp.Version2c, "d", nil); err == nil {
		t.Error("another community was read")
	}
	for n := range good {
		if _, err := decodeReply(good[:n], gosnmp.Version2c, "c", nil); err == nil {
			t.Errorf("the first %d bytes of %d were read", n, len(good))
		}
	}
	if _, err := decodeReply(append(bytes.Clone(good), 0), gosnmp.Version2c, "c", nil); err == nil {
		t.Error("a byte too many was read")
	}
}

// TestDecodeReplyKeepsNames: the names that were asked for are used again, and no
// value is a part of the packet.
func TestDecodeReplyKeepsNames(t *testing.T) {
	packet := seedReplies(t)[0]
	plain, err := decodeReply(packet, gosnmp.Version2c, "c", nil)
	if err != nil {
		t.Fatal(err)
	}
	asked := make([]string, len(plain.vars))
	for i, v := range plain.vars {
		asked[i] = strings.TrimPrefix(v.Name, ".")
	}
	asked[3] = "1.3.6.1.2.1.31.1.1.1.6.2" // another one than was answered
	got, err := decodeReply(packet, gosnmp.Version2c, "c", asked)
	if err != nil {
		t.Fatal(err)
	}
	clear(packet)
	for i, v := range got.vars {
		want := asked[i]
		if i == 3 {
			want = plain.vars[3].Name
		}
		if v.Name != want || !reflect.DeepEqual(v.Value, plain.vars[i].Value) {
			t.Errorf("got %+v, want %s %v", v, want, plain.vars[i].Value)
		}
	}
}

func TestNumberOf(t *testing.T) {
	for _, tt := range []struct {
		value any
		want  float64
		bad   string
	}{
		{value: -3, want: -3},
		{value: uint(7), want: 7},
		{value: uint64(1 << 63), want: 1 << 63},
		{value: float32(0.5), want: 0.5},
		{value: []byte(" 0.35\n"), want: 0.35},
		{value: []byte("-2e3"), want: -2000},
		{value: []byte("sda"), bad: `the text "sda"`},
		{value: []byte("nan"), bad: "finite"},
		{value: math.Inf(1), bad: "finite"},
		{value: nil, bad: "not a number"},
	} {
		got, err := numberOf(gosnmp.SnmpPDU{Name: ".1.3", Value: tt.value})
		if got != tt.want && tt.bad == "" || (err == nil) != (tt.bad == "") || err != nil && !strings.Contains(err.Error(), tt.bad) {
			t.Errorf("%v: got %g, %v", tt.value, got, err)
		}
	}
}
