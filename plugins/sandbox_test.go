// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

// ways are what a Lua script might try to get out of its sandbox, or to change
// what is not its own. Each is one statement at the beginning of schedule.
var ways = []string{
	`os.execute("true")`, `io.open("/etc/passwd")`, `require("os")`, `package.loaded.x = 1`, `load("return 1")()`,
	`loadstring("return 1")()`, `dofile("/etc/passwd")`, `loadfile("/etc/passwd")`, `debug.getregistry()`, `collectgarbage()`,
	`coroutine.wrap(function() while true do end end)()`, `getfenv(0).x = 1`, `setfenv(1, {})`, `_G.schedule = nil`,
	`string.dump(schedule)`, `newproxy(true)`, `rawset(_G, "x", 1)`, `module("x")`, `channel.make()`,
	`getmetatable("").__index = nil`, `setmetatable("", {})`, `string.rep = nil`, `math.random = nil`, `policy = nil`,
}

// TestLuaSandbox: whatever a script tries, it is refused, or the call fails, or it
// has no effect on this call or the next.
func TestLuaSandbox(t *testing.T) {
	h := newHost(t)
	for _, way := range ways {
		script := "function schedule(s)\n" + way + "\nlocal w = {} for i = 1, s.n do w[i] = #string.rep('x', i) end return w\nend\n"
		spec := core.PolicySpec{Name: "sly", Lua: script}
		if err := h.Load(t.Context(), []core.PolicySpec{spec}); err != nil {
			t.Logf("%-40s is not loaded: %v", way, err)
			continue
		}
		for range 2 {
			r := h.Schedule(t.Context(), []core.Call{call("sly", "web", 2)})[0]
			if r.Err == nil && (len(r.Weights) != 2 || r.Weights[1] != 2*r.Weights[0]) {
				t.Errorf("%s has an effect: %v", way, r.Weights)
			}
			t.Logf("%-40s %v", way, r.Err)
		}
		if err := h.Load(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if r := h.Schedule(t.Context(), []core.Call{call("rr", "web", 2)})[0]; r.Err != nil {
		t.Error(r.Err)
	}
}
