// SPDX-License-Identifier: Apache-2.0

package lua_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/lua"
)

// FuzzCall gives any bytes as a snapshot to a script that reads all of it: an
// answer or an error, and no read or write outside.
func FuzzCall(f *testing.F) {
	b := load(f, columns)
	for _, n := range []int{0, 1, 3} {
		b.s = service(n)
		b.metrics = []string{"queue_depth"}
		buf, _ := b.encode()
		f.Add(buf)
	}
	good, _ := b.encode()
	for _, off := range []int{16, 48, 52, 56, 60, 64, 68, 72, 76, 80, 84, 92, 96} { // the numbers of the header that lead somewhere
		for _, v := range []byte{0, 0xFF} {
			buf := append([]byte(nil), good...)
			buf[off+1], buf[off+3] = v, v
			f.Add(buf)
		}
	}
	for _, off := range []int{abi.MetricValuesOff, abi.MetricAgesOff} {
		buf := append([]byte(nil), good...)
		at := binary.LittleEndian.Uint32(buf[abi.OffCustomDirOff:])
		binary.LittleEndian.PutUint32(buf[int(at)+off:], uint32(len(buf)-4))
		f.Add(buf)
	}
	f.Fuzz(func(t *testing.T, snapshot []byte) {
		if len(snapshot) > 52 && binary.LittleEndian.Uint32(snapshot[48:]) > 2000 {
			return // the policy prints every value
		}
		if len(snapshot) >= abi.HeaderSize { // so that what is damaged lies behind the first look
			snapshot = append([]byte(nil), snapshot...)
			copy(snapshot, good[:8])
			binary.LittleEndian.PutUint32(snapshot[12:], uint32(len(snapshot)))
		}
		before := string(snapshot)
		out, err := b.m.Call(t.Context(), []byte("head"), snapshot)
		if string(snapshot) != before || string(out[:4]) != "head" {
			t.Fatal("the snapshot or the buffer was changed")
		}
		switch {
		case err != nil && len(out) != 4:
			t.Errorf("%d bytes and the error %v", len(out), err)
		case err != nil && strings.Contains(err.Error(), "broke down"):
			t.Error(err)
		case err == nil && len(out)-4 != len(snapshot)-int(abi.AnswerOffset(snapshot)):
			t.Errorf("an answer of %d bytes", len(out)-4)
		}
	})
}

// endless are words without which no script runs for long.
var endless = []string{"while", "for", "repeat", "goto", "function", "find", "match", "sub", "rep", "..", "concat"}

// FuzzLoad gives any text as a script: a module with a good manifest, or an
// error with a text. A script that could run for ever is compiled only.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{"", "x", "\uFEFF#!/bin/lua\nx = 1", twoPass, columns, "schedule = print policy = {params = {{name = 'a', default = 1}}, reads = {}}",
		"local a <const> = 1", "return ...", "x = [==[\n]==]", "goto a ::a::", "a.b:c'd'{e}", "x = 1 .. 2 ^ -3", "--[[", "'\\", "0x", "1e", "schedule = hold",
		"function schedule(s) return s.weight end", "if x then elseif y then else end", "policy = setmetatable({}, {__index = error}) schedule = pcall"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		if err := lua.Compile(code); err != nil {
			if err.Error() == "" || strings.Contains(err.Error(), "broke down") {
				t.Errorf("error %q", err)
			}
			return
		}
		for _, word := range endless {
			if strings.Contains(string(code), word) {
				return
			}
		}
		m, err := lua.Load(t.Context(), code)
		if err != nil {
			return
		}
		if _, err := abi.ParseManifest(m.Manifest()); err != nil {
			t.Errorf("manifest %s: %v", m.Manifest(), err)
		}
		_ = m.Close(t.Context())
	})
}

// A mistake of the interpreter costs its machine, and nothing else.
func TestPanicIsAnError(t *testing.T) {
	b := load(t, `policy = {service_state = {"calls"}}
	function schedule(s)
		s.service.calls = s.service.calls + 1
		if s.seq == 1 then log("info", "x") end
		print(s.service.calls)
		return {1, 1, 1}
	end`)
	b.m.BreakLog()
	if _, err := b.call(); err == nil || !strings.Contains(err.Error(), "policy.lua: the Lua interpreter broke down: runtime error: index out of range") {
		t.Fatalf("got %v", err)
	}
	b.must() // the same decision, in a new machine
	if b.said() != "1 x\n1 1" {
		t.Errorf("then said %q", b.said())
	}
}
