// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// hash is over what the configuration came to, not over how it was written: a
// default that is spelt out changes nothing, another line in a deny_file does.
func (c *Config) hash() string {
	h := hasher{sum: sha256.New(), lists: map[*netip.Prefix][]byte{}}
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		switch f := v.Type().Field(i); f.Name {
		case "Path", "Files", "Hash", "GroupHash", "Warnings", "Shared", "local", "tree", "places": // where it came from
		default:
			h.add(v.Field(i))
		}
	}
	h.sum.Write(h.buf)
	return hex.EncodeToString(h.sum.Sum(nil))
}

// groupHash is over what the nodes of a group must have in common to act alike: not
// over their names, roles, sockets, logins and paths. Sums are the digests of policies.
func (c *Config) groupHash(sums map[string]string) string {
	h := hasher{sum: sha256.New(), lists: map[*netip.Prefix][]byte{}}
	cluster, probing, policies := c.Cluster, c.Probing, slices.Clone(c.Policies)
	cluster.Roles, probing.Concurrency = core.Roles{}, nil
	for i := range policies {
		policies[i].Path, policies[i].Lua, policies[i].SHA256 = "", "", sums[policies[i].Name]
	}
	for _, part := range []any{c.Services, c.Probes, policies, c.Maintenance, probing, cluster, c.Kernel.HashSeed} {
		h.add(reflect.ValueOf(part))
	}
	h.sum.Write(h.buf)
	return hex.EncodeToString(h.sum.Sum(nil))
}

// A hasher writes values so that no two different ones of a type read the same.
type hasher struct {
	sum   hash.Hash
	buf   []byte                   // what sum has not got yet
	lists map[*netip.Prefix][]byte // the sum of each list: services share long ones
}

var (
	secretType = reflect.TypeFor[core.Secret]()
	addrType   = reflect.TypeFor[netip.Addr]()
	portType   = reflect.TypeFor[netip.AddrPort]()
	listType   = reflect.TypeFor[[]netip.Prefix]()
	prefixType = reflect.TypeFor[netip.Prefix]()
	timeType   = reflect.TypeFor[time.Time]()
)

func (h *hasher) add(v reflect.Value) {
	if len(h.buf) > 1<<16 {
		h.sum.Write(h.buf)
		h.buf = h.buf[:0]
	}
	switch v.Type() {
	case secretType:
		return
	case addrType:
		h.buf = appendAddr(h.buf, v.Interface().(netip.Addr))
		return
	case portType:
		a := v.Interface().(netip.AddrPort)
		h.buf = binary.BigEndian.AppendUint16(appendAddr(h.buf, a.Addr()), a.Port())
		return
	case prefixType:
		h.buf = appendPrefix(h.buf, v.Interface().(netip.Prefix))
		return
	case timeType:
		h.buf = binary.AppendVarint(h.buf, v.Interface().(time.Time).Unix())
		return
	case listType:
		h.list(v.Interface().([]netip.Prefix))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			h.add(v.Field(i))
		}
	case reflect.Slice:
		h.length(v.Len(), v.IsNil())
		for i := range v.Len() {
			h.add(v.Index(i))
		}
	case reflect.Map:
		h.names(v)
	case reflect.Pointer:
		if h.length(0, v.IsNil()); !v.IsNil() {
			h.add(v.Elem())
		}
	default:
		h.scalar(v)
	}
}

func (h *hasher) list(list []netip.Prefix) {
	h.length(len(list), list == nil)
	if len(list) == 0 {
		return
	}
	sum, ok := h.lists[&list[0]]
	if !ok {
		var all []byte
		for _, p := range list {
			all = appendPrefix(all, p)
		}
		s := sha256.Sum256(all)
		sum, h.lists[&list[0]] = s[:], s[:]
	}
	h.buf = append(h.buf, sum...)
}

func appendPrefix(buf []byte, p netip.Prefix) []byte {
	return append(appendAddr(buf, p.Addr()), byte(p.Bits()))
}

// appendAddr leaves zones out: the configuration has none.
func appendAddr(buf []byte, a netip.Addr) []byte {
	b := a.As16()
	return append(append(buf, b[:]...), byte(a.BitLen()))
}

func (h *hasher) scalar(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		h.text(v.String())
	case reflect.Bool:
		h.length(0, v.Bool())
	case reflect.Float64:
		h.buf = binary.AppendUvarint(h.buf, math.Float64bits(v.Float()))
	default:
		if v.CanUint() {
			h.buf = binary.AppendUvarint(h.buf, v.Uint())
			return
		}
		h.buf = binary.AppendVarint(h.buf, v.Int()) // panics of a kind that is new here
	}
}

// names writes a map in the order of its keys.
func (h *hasher) names(v reflect.Value) {
	names := v.MapKeys()
	slices.SortFunc(names, func(a, b reflect.Value) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
	h.length(len(names), v.IsNil())
	for _, n := range names {
		h.text(n.String())
		h.add(v.MapIndex(n))
	}
}

func (h *hasher) text(s string) {
	h.length(len(s), false)
	h.buf = append(h.buf, s...)
}

// length marks where one value ends and the next begins, and nil apart from empty.
func (h *hasher) length(n int, isNil bool) {
	if isNil {
		n = -1
	}
	h.buf = binary.AppendVarint(h.buf, int64(n))
}
