// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"

	"github.com/gosnmp/gosnmp"
)

// This file writes and reads the messages of SNMP v1 and v2c, RFC 1157 and 3416.
// gosnmp could, at twice the price; see RATIONALE.md. What is read here is held
// against what gosnmp reads by a fuzz test.

// maxArcs bounds an OID, RFC 2578 section 3.5.
const maxArcs = 128

// maxMessage is the longest answer that is read. Agents keep to 1,472 bytes mostly,
// and what we ask for is numbers: a run that waits holds a buffer of this length.
const maxMessage = 16 << 10

var (
	errOID     = errors.New("an OID is numbers with dots between them, as in 1.3.6.1.2.1.1.3.0")
	errMessage = errors.New("not a valid SNMP message")
)

// appendOID encodes the contents of an OID, with or without a leading dot.
func appendOID(b []byte, oid string) ([]byte, error) {
	if len(oid) > 0 && oid[0] == '.' {
		oid = oid[1:]
	}
	var first uint64
	arc, digits, n := uint64(0), 0, 0
	for i := 0; i <= len(oid); i++ {
		if i < len(oid) && oid[i] >= '0' && oid[i] <= '9' {
			if arc = arc*10 + uint64(oid[i]-'0'); arc > math.MaxUint32 {
				return nil, errOID
			}
			digits++
			continue
		}
		if i < len(oid) && oid[i] != '.' || digits == 0 || n == maxArcs {
			return nil, errOID
		}
		switch {
		case n == 0:
			first = arc
		case n == 1 && (first > 2 || first < 2 && arc > 39):
			return nil, errOID
		case n == 1:
			b = appendArc(b, first*40+arc)
		default:
			b = appendArc(b, arc)
		}
		arc, digits, n = 0, 0, n+1
	}
	if n < 2 {
		return nil, errOID
	}
	return b, nil
}

// appendArc writes 7 bits a byte, the highest first; every byte but the last has
// its top bit set.
func appendArc(b []byte, arc uint64) []byte {
	shift := 0
	for arc>>(shift+7) > 0 {
		shift += 7
	}
	for ; shift > 0; shift -= 7 {
		b = append(b, byte(arc>>shift)|0x80)
	}
	return append(b, byte(arc&0x7f))
}

// oidText is the dotted form of encoded contents, with the leading dot; false if
// they are not valid.
func oidText(ber []byte) (string, bool) {
	var buf [256]byte // longer ones are rare, and grow
	b, arc, n, open := buf[:0], uint64(0), 0, false
	for _, c := range ber {
		if arc > math.MaxUint32>>7+1<<20 {
			return "", false // more than 32 bits, and those of the first two arcs
		}
		arc, open = arc<<7|uint64(c&0x7f), c&0x80 != 0
		if open {
			continue
		}
		if n == 0 {
			first := min(arc/40, 2)
			b = strconv.AppendUint(append(b, '.'), first, 10)
			arc -= first * 40
		}
		if n++; n >= maxArcs || arc > math.MaxUint32 {
			return "", false
		}
		b = strconv.AppendUint(append(b, '.'), arc, 10)
		arc = 0
	}
	if n == 0 || open {
		return "", false
	}
	return string(b), true
}

// A request is what goes into a message.
type request struct {
	version   gosnmp.SnmpVersion // Version1 or Version2c
	community string
	kind      gosnmp.PDUType // GetRequest, GetNextRequest or GetBulkRequest
	id        uint32         // of 4 bytes exactly in its encoding; see newRequestID
	oids      []string
	rows      byte // of GetBulkRequest: max-repetitions
}

// appendTo encodes the request. It fails for an OID that is none.
func (r *request) appendTo(b []byte) ([]byte, error) {
	b, message := openField(b, 0x30)
	b = append(b, 2, 1, byte(r.version))
	b, name := openField(b, 4)
	b = closeField(append(b, r.community...), name)
	b, pdu := openField(b, byte(r.kind))
	b = binary.BigEndian.AppendUint32(append(b, 2, 4), r.id)
	b = append(b, 2, 1, 0, 2, 1, r.rows) // error-status and error-index, or non-repeaters and max-repetitions
	b, list := openField(b, 0x30)
	for _, oid := range r.oids {
		var bind, field int
		var err error
		b, bind = openField(b, 0x30)
		b, field = openField(b, 6)
		if b, err = appendOID(b, oid); err != nil {
			return nil, err
		}
		b = closeField(b, field)
		b = closeField(append(b, 5, 0), bind)
	}
	return closeField(closeField(closeField(b, list), pdu), message), nil
}

// openField begins a field with room for a length of one byte; closeField fills it
// in, and makes room for a longer one. Every length is as short as it can be, because
// there are agents that read no other.
func openField(b []byte, tag byte) ([]byte, int) {
	return append(b, tag, 0), len(b) + 2
}

func closeField(b []byte, start int) []byte {
	n := len(b) - start
	switch {
	case n < 0x80:
		b[start-1] = byte(n)
	case n <= math.MaxUint8:
		b = slices.Insert(b, start, byte(n))
		b[start-1] = 0x81
	default:
		b = slices.Insert(b, start, byte(n>>8), byte(n))
		b[start-1] = 0x82
	}
	return b
}

// A reply is an agent's answer.
type reply struct {
	id     uint32
	status gosnmp.SNMPError
	index  int // of the variable that status is about, from 1; 0 if of none
	vars   []gosnmp.SnmpPDU
}

// field cuts the first field off b.
func field(b []byte) (tag byte, content, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, nil, false
	}
	n, at := int(b[1]), 2
	switch {
	case n == 0x81 && len(b) >= 3:
		n, at = int(b[2]), 3
	case n == 0x82 && len(b) >= 4:
		n, at = int(binary.BigEndian.Uint16(b[2:])), 4
	case n == 0x83 && len(b) >= 5:
		n, at = int(b[2])<<16|int(binary.BigEndian.Uint16(b[3:])), 5
	case n >= 0x80:
		return 0, nil, nil, false
	}
	if n > len(b)-at {
		return 0, nil, nil, false
	}
	return b[0], b[at : at+n], b[at+n:], true
}

// wanted cuts off a field that must have the tag.
func wanted(b []byte, tag byte) (content, rest []byte, ok bool) {
	got, content, rest, ok := field(b)
	return content, rest, ok && got == tag
}

// decodeReply reads a response to a request of that version and community. asked
// are the OIDs of the request: names of the answer that are the same take no memory.
func decodeReply(packet []byte, version gosnmp.SnmpVersion, community string, asked []string) (reply, error) {
	message, trailer, ok := wanted(packet, 0x30)
	v, message, ok1 := wanted(message, 2)
	name, message, ok2 := wanted(message, 4)
	pdu, after, ok3 := wanted(message, byte(gosnmp.GetResponse))
	if !ok || !ok1 || !ok2 || !ok3 || len(trailer) > 0 || len(after) > 0 ||
		len(v) != 1 || v[0] != byte(version) || string(name) != community {
		return reply{}, errMessage
	}
	var head [3]int64
	for i := range head {
		var content []byte
		if content, pdu, ok = wanted(pdu, 2); !ok {
			return reply{}, errMessage
		}
		if head[i], ok = signed(content); !ok {
			return reply{}, errMessage
		}
	}
	list, after, ok := wanted(pdu, 0x30)
	if !ok || len(after) > 0 || head[1] < 0 || head[1] > math.MaxUint8 || head[2] < 0 || head[2] > math.MaxUint8 {
		return reply{}, errMessage
	}
	r := reply{id: uint32(head[0]), status: gosnmp.SNMPError(head[1]), index: int(head[2])}
	r.vars, ok = decodeList(list, asked)
	if !ok {
		return reply{}, errMessage
	}
	return r, nil
}

func decodeList(list []byte, asked []string) ([]gosnmp.SnmpPDU, bool) {
	vars := make([]gosnmp.SnmpPDU, 0, len(asked))
	var scratch [2 * maxArcs]byte
	for len(list) > 0 {
		bind, rest, ok := wanted(list, 0x30)
		name, value, ok1 := wanted(bind, 6)
		tag, content, after, ok2 := field(value)
		if !ok || !ok1 || !ok2 || len(after) > 0 {
			return nil, false
		}
		v := gosnmp.SnmpPDU{Type: gosnmp.Asn1BER(tag)}
		if i := len(vars); i < len(asked) {
			if same, err := appendOID(scratch[:0], asked[i]); err == nil && string(same) == string(name) {
				v.Name = asked[i]
			}
		}
		if v.Name == "" {
			if v.Name, ok = oidText(name); !ok {
				return nil, false
			}
		}
		if ok = decodeValue(&v, content); !ok {
			return nil, false
		}
		vars, list = append(vars, v), rest
	}
	return vars, true
}

// decodeValue fills in the value in gosnmp's types. Of what is neither a number nor
// a text it keeps the type only.
func decodeValue(v *gosnmp.SnmpPDU, content []byte) bool {
	switch v.Type {
	case gosnmp.Integer:
		n, ok := signed(content)
		v.Value = int(n)
		return ok
	case gosnmp.Counter32, gosnmp.Gauge32, gosnmp.TimeTicks, gosnmp.Uinteger32:
		n, ok := unsigned(content)
		v.Value = uint(n)
		return ok && n <= math.MaxUint32
	case gosnmp.Counter64:
		n, ok := unsigned(content)
		v.Value = n
		return ok
	case gosnmp.OctetString:
		v.Value = append([]byte(nil), content...)
	case gosnmp.Opaque:
		decodeOpaque(v, content)
	case gosnmp.OpaqueFloat, gosnmp.OpaqueDouble:
		v.Type = gosnmp.UnknownType // only within Opaque are they that
	}
	return true
}

// decodeOpaque reads the floating point numbers that net-snmp wraps as Opaque: a
// tag of two bytes, a length, and the number.
func decodeOpaque(v *gosnmp.SnmpPDU, content []byte) {
	const opaque = 0x9f
	switch {
	case len(content) == 7 && content[0] == opaque && gosnmp.Asn1BER(content[1]) == gosnmp.OpaqueFloat && content[2] == 4:
		v.Type, v.Value = gosnmp.OpaqueFloat, math.Float32frombits(binary.BigEndian.Uint32(content[3:]))
	case len(content) == 11 && content[0] == opaque && gosnmp.Asn1BER(content[1]) == gosnmp.OpaqueDouble && content[2] == 8:
		v.Type, v.Value = gosnmp.OpaqueDouble, math.Float64frombits(binary.BigEndian.Uint64(content[3:]))
	}
}

// signed reads the two's complement contents of an INTEGER.
func signed(content []byte) (n int64, ok bool) {
	if len(content) == 0 || len(content) > 8 {
		return 0, false
	}
	n = int64(int8(content[0]))
	for _, c := range content[1:] {
		n = n<<8 | int64(c)
	}
	return n, true
}

// unsigned reads the contents of a counter or gauge, which have a zero in front
// where the first bit is set. Some agents leave that out.
func unsigned(content []byte) (n uint64, ok bool) {
	if len(content) == 9 && content[0] == 0 {
		content = content[1:]
	}
	if len(content) == 0 || len(content) > 8 {
		return 0, false
	}
	for _, c := range content {
		n = n<<8 | uint64(c)
	}
	return n, true
}
