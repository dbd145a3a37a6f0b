// SPDX-License-Identifier: Apache-2.0

package lua_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/plugins/lua"
)

// Every mistake of an author is told with its place.
func TestLoadRefuses(t *testing.T) {
	const body = "\nfunction schedule(s) return {} end"
	for _, tt := range []struct{ name, script, want string }{
		{"nothing", "", "policy.lua: there is no function schedule(s)"},
		{"not a function", "schedule = 3", "policy.lua: schedule is 3: want a function"},
		{"local", "local function schedule(s) end", "there is no function schedule(s)"},
		{"no text", "\xff\xfe", "no UTF-8 text"},
		{"bytecode", "\x1bLua\x00", "no UTF-8 text"},
		{"long", strings.Repeat(" ", lua.MaxScript+1), "at most 262144 are taken"},
		{"syntax", "x = 1\ny = = 2", `policy.lua:2: syntax error near "="`},
		{"no end", "function schedule(s)\n", "policy.lua: syntax error at the end of the file: is an 'end' missing?"},
		{"runs into an error", "local t = nil\nt.x = 1", "policy.lua:2: attempt to index a non-table object(nil) with key 'x'"},
		{"goto nowhere", "goto away" + body, "no visible label 'away' for <goto> at line 1"},

		{"a name that nothing sets", "function schedule(s)\n  return {math.mux(s.n, wieght)}\nend\nweight = 1", "policy.lua:2: nothing sets wieght: did you mean weight?"},
		{"a name in an until", "repeat local x = 1 until y" + body, "policy.lua:1: nothing sets y"},
		{"os", "local t = os.time()" + body, "policy.lua:1: there is no os here: a policy has no clock"},
		{"io", "io.write('x')" + body, "there is no io here"},
		{"require", "local m = require 'm'" + body, "there is no require here: a policy is one file"},
		{"load", "load('x')()" + body, "there is no load here"},
		{"debug", "debug.traceback()" + body, "there is no debug here"},
		{"coroutine", "coroutine.wrap(print)" + body, "there is no coroutine here"},
		{"_G", "_G.x = 1" + body, "there is no _G here"},
		{"a new global in a function", "function schedule(s)\n  count = 1\nend", "policy.lua:2: a function assigns to count, which belongs to the file: keep what the next call needs in s.state or s.service, or say local count"},
		{"a global of the file", "count = 0\nfunction schedule(s)\n  count = count + 1\nend", "policy.lua:3: a function assigns to count"},
		{"a local of the file", "local count = 0\nfunction schedule(s)\n  local function inc() count = count + 1 end\n  inc()\nend", "policy.lua:3: a function assigns to count"},
		{"a function in a function", "function schedule(s)\n  function helper() end\nend", "policy.lua:2: a function assigns to helper"},
		{"two at once", "function schedule(s)\n  a = 1\n  b = 2\nend", "policy.lua:3: a function assigns to b"},
		{"too deep", "x = " + strings.Repeat("(", 2000) + "1" + strings.Repeat(")", 2000) + body, ""},
		{"too deep a sum", "x = " + strings.Repeat("1+", 2000) + "1" + body, "more than 1000 things within one another"},
		{"too deep in blocks", strings.Repeat("do ", 2000) + strings.Repeat("end ", 2000) + body, "more than 1000 things within one another"},

		{"policy is no table", "policy = 3" + body, "policy.lua:1: policy: is 3: want a table"},
		{"unknown key", "policy = {backend_stat = {}}" + body, `policy: unknown key "backend_stat": did you mean "backend_state"?`},
		{"list as policy", "policy = {'x'}" + body, "policy: has the key [1]: want name, about"},
		{"bad name", "policy = {name = 'A b'}" + body, `policy: name is "A b": want lower-case letters`},
		{"name is a number", "policy = {name = 3}" + body, "policy: name is 3: want a text"},
		{"unknown reading", "policy = {reads = {'cpu', 'conections'}}" + body, `policy: reads[2] is "conections": did you mean "connections"?`},
		{"reads is a text", "policy = {reads = 'cpu'}" + body, `policy: reads is the string "cpu": want a list`},
		{"reads has holes", "policy = {reads = {'cpu', nil, 'cores'}}" + body, "policy: reads is no list"},
		{"a reading twice", "policy = {reads = {'cpu', 'cpu'}}" + body, `policy: reads[2] is "cpu" for the second time`},
		{"bad metric", "policy = {metrics = {'Queue'}}" + body, `policy: metrics[1] is "Queue": want lower-case`},
		{"slot is no name", "policy = {backend_state = {'a b'}}" + body, `policy: backend_state[1] is "a b": want a name such as smooth`},
		{"slots as a number", "policy = {backend_state = 2}" + body, "policy: backend_state is 2: want a list"},
		{"state version", "policy = {state_version = 1.5}" + body, "policy: state_version is 1.5: want a whole number"},
		{"param without name", "policy = {params = {{name = 'a', default = 1}, {default = 1}}}" + body, "policy.params[2]: name is missing"},
		{"param without default", "policy = {params = {{name = 'a'}}}" + body, "policy.params[1]: default is missing"},
		{"param out of range", "policy = {params = {{name = 'a', default = 3, min = 0, max = 2}}}" + body, "policy.params[1]: default is 3: want 0 to 2"},
		{"param type", "policy = {params = {{name = 'a', type = 'int', default = 3}}}" + body, `policy.params[1]: type is "int": want number, integer or boolean`},
		{"param key", "policy = {params = {{name = 'a', defualt = 3}}}" + body, `policy.params[1]: unknown key "defualt": did you mean "default"?`},
		{"param is infinite", "policy = {params = {{name = 'a', default = 1, max = math.huge}}}" + body, "policy.params[1]: max is "},
		{"half an integer", "policy = {params = {{name = 'a', type = 'integer', default = 1.5}}}" + body, "policy.params[1]: default is 1.5: want a whole number"},
		{"boolean", "policy = {params = {{name = 'a', type = 'boolean', default = 1}}}" + body, "policy.params[1]: default is 1: want true or false"},
		{"boolean with max", "policy = {params = {{name = 'a', type = 'boolean', default = true, max = 1}}}" + body, "policy.params[1]: max is there, but a boolean has none"},
		{"a line for each", "policy = {\n  params = {\n    { name = 'a', default = 1 },\n    { name = 'b',\n      default = '2' },\n  },\n}" + body, `policy.lua:5: policy.params[2]: default is the string "2": want a finite number`},
		{"a line for what is missing", "policy = {\n  params = {\n    { name = 'a' },\n  },\n}" + body, "policy.lua:3: policy.params[1]: default is missing"},
		{"a line for a name", "policy = {\n  reads = { 'cpu',\n    'x' } }" + body, `policy.lua:3: policy: reads[2] is "x": there are cpu, cores`},
		{"no line", "policy = {} policy.metrics = 3" + body, "policy.lua:1: policy: metrics is 3: want a list"},
		{"param is a text", "policy = {params = {'a'}}" + body, `policy.params[1]: is the string "a": want a table`},
		{"param twice", "policy = {params = {{name = 'a', default = 1}, {name = 'a', default = 1}}}" + body, `parameter "a" is there twice`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := lua.Load(t.Context(), []byte(tt.script))
			if err == nil {
				_ = m.Close(t.Context())
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
}

// A call that goes wrong says where and why, and the next one is as good as any.
func TestCallRefuses(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"error", `error("all stale")`, "the policy answered with an error: policy.lua:4: all stale"},
		{"error without place", `error("all stale", 0)`, "the policy answered with an error: all stale"},
		{"error of a table", `error({})`, "policy.lua: error() was given a table: want a text"},
		{"arithmetic on nil", `local x = s.cpu[3] + 1`, "policy.lua:4: cannot perform add operation between nil and number"},
		{"compare", `local x = s.cpu[3] < 1`, "policy.lua:4: attempt to compare nil with number"},
		{"call nil", `s.cpu[1]()`, "policy.lua:4: attempt to call a non-function object"},
		{"nothing", ``, "policy.lua: schedule returned nil: want a list of 3 weights"},
		{"a number", `return 3`, "policy.lua: schedule returned 3: want a list of 3 weights"},
		{"short", `return {1, 2}`, "policy.lua: schedule returned 2 weights for 3 backends: backend 3 has none"},
		{"empty", `return {}`, "policy.lua: schedule returned 0 weights for 3 backends: backend 1 has none"},
		{"long", `return {1, 2, 3, 4}`, "policy.lua: schedule returned 4 weights for 3 backends"},
		{"hole", `return {1, nil, 3}`, "the weight of backend 2 is nil: want a number from 0 upward, or hold"},
		{"nan", `return {1, 0/0, 3}`, "the weight of backend 2 is not a number (nan"},
		{"negative", `return {1, 2, -0.5}`, "the weight of backend 3 is -0.5"},
		{"infinite", `return {1, 1/0, 3}`, "the weight of backend 2 is infinite"},
		{"huge", `return {1, math.huge, 3}`, "the weight of backend 2 is infinite"},
		{"string", `return {"1", 2, 3}`, `the weight of backend 1 is the string "1"`},
		{"table", `return {1, {}, 3}`, "the weight of backend 2 is a table"},
		{"boolean", `return {1, true, 3}`, "the weight of backend 2 is true"},
		{"all zero", `return {0, 0, 0}`, "every weight is 0"},
		{"hold in a sum", `return {1, hold + 1, 3}`, "policy.lua:4: cannot perform add operation between userdata and number"},
		{"no such column", `return {s.conns[1]}`, "policy.lua:4: there is no s.conns: "},
		{"mistyped column", `return {s.wieght[1]}`, `policy.lua:4: there is no s.wieght: did you mean "weight"?`},
		{"not in reads", `return {s.closed[1]}`, `policy.lua:4: s.closed is not given: add "closed" to policy.reads`},
		{"not in metrics", `return {s.metric.queue[1]}`, `policy.lua:4: policy.metrics does not name "queue": there are none`},
		{"not in state", `s.state.x[1] = 2`, `policy.lua:4: policy.backend_state does not name "x": there are a`},
		{"not in service", `s.service.err = 2`, "policy.lua:4: s.service.err cannot be set"},
		{"not in param", `return {s.param.alpha}`, `policy.lua:4: policy.params does not name "alpha"`},
		{"kept in s", `s.last = 2`, "policy.lua:4: s.last cannot be set: keep what the next call needs in s.state or s.service"},
		{"state is a string", `s.state.a[2] = "x" return {1, 1, 1}`, `policy.lua: s.state.a[2] is the string "x": want a number`},
		{"state is nil", `s.state.a[2] = nil return {1, 1, 1}`, "policy.lua: s.state.a[2] is nil: want a number"},
		{"state is nan", `s.state.a[2] = 0/0 return {1, 1, 1}`, "policy.lua: s.state.a[2] is NaN"},
		{"state is no list", `s.state.a = 3 return {1, 1, 1}`, "policy.lua: s.state.a is 3: want a list of 3 numbers"},
		{"state replaced", `s.state = {} return {1, 1, 1}`, "s.state or s.service was replaced"},
		{"service is a table", `s.service.e = {} return {1, 1, 1}`, "policy.lua: s.service.e is a table: want a number"},
		{"string.rep", `local x = ("x"):rep(1e9)`, "policy.lua:4: string.rep: 1000000000 times 1 bytes is more than 1048576 bytes"},
		{"table.concat", `local t = {} for i = 1, 2000 do t[i] = ("x"):rep(1000) end table.concat(t)`, "policy.lua:4: table.concat: the result has more than 1048576 bytes"},
		{"recursion", `local function f() return 1 + f() end f()`, "policy.lua:4: stack overflow"},
		{"unpack of too much", `unpack({}, 1, 1e6)`, "registry overflow"},
		{"a long text", `("x"):rep(40000):find("x*$")`, "policy.lua:4: string.find: text and pattern have 40003 bytes, at most 32768 are matched"},
		{"a long pattern", `("x"):gsub(("x?"):rep(20000), "")`, "policy.lua:4: string.gsub: text and pattern have 40001 bytes"},
		{"pattern", `("x"):find("[")`, "policy.lua:4: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := load(t, "policy = {backend_state = {'a'}, service_state = {'e'}, reads = {'cpu'}}\nfunction schedule(s)\nif s.seq < 10 then\n"+
				tt.body+"\nelse return {1, hold, 2 * s.weight[1] + s.state.a[2] + s.service.e} end end")
			if _, err := b.call(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
			b.s.Seq = 10
			b.must()
		})
	}
}

// What is cheap to write but dear to run is bounded by the interpreter's limits.
func TestSparseTableIsCheap(t *testing.T) {
	b := load(t, `function schedule(s)
		local t = {}
		for i = 1, 100 do t[i * 600000] = i end
		t[60000000] = 1
		return {1, 1, 1}
	end`)
	b.must()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.must()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("a table of 101 entries took %d bytes", got)
	}
}

// A function that writes into a table of the file is told, since most of those
// are a state that does not last.
func TestWarnsOfTablesOfTheFile(t *testing.T) {
	b := load(t, "local ema = {}\nlocal out = {}\nfunction schedule(s)\n  ema[s.id[1]] = 1\n  local mine = {}\n  mine.x = {}\n  mine.x.y = 1\n  return {1, 1, 1}\nend")
	if got := b.said(); !strings.HasPrefix(got, "2 policy.lua:4: a function writes into ema, which belongs to the file") || strings.Contains(got, "\n") {
		t.Errorf("Load said %q", got)
	}
}

func TestLog(t *testing.T) {
	b := load(t, `function schedule(s)
		log("debug", "a") log("info", "b") log("warning", "c") log("error", "d") log(2, 7) log(99, nil)
		print("x", 1.5, nil, true, hold)
		print(("é"):rep(400))
		for i = 1, 20 do print(i) end
		return {1, 1, 1}
	end`)
	for range 2 {
		b.must()
		lines := strings.Split(b.said(), "\n")
		if len(lines) != 16 {
			t.Fatalf("%d lines: %q", len(lines), lines)
		}
		want := "0 a|1 b|2 c|3 d|2 7|3 nil|1 x\t1.5\tnil\ttrue\thold|1 " + strings.Repeat("é", 256) + "|1 1"
		if got := strings.Join(lines[:9], "|"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	bad := load(t, `function schedule(s) log("warn", "x") end`)
	if _, err := bad.call(); err == nil || !strings.Contains(err.Error(), `the level is "warn": want one of debug, info, warning, error`) {
		t.Errorf("got %v", err)
	}
}

// Random numbers come from the snapshot: the same again for the same decision,
// and others for the next.
func TestRandom(t *testing.T) {
	b := load(t, `function schedule(s)
		local r = {}
		for i = 1, 1000 do
			local x, y, z = math.random(), math.random(6), math.random(-3, 3)
			assert(x >= 0 and x < 1 and y >= 1 and y <= 6 and y == math.floor(y) and z >= -3 and z <= 3)
		end
		print(math.random(1e9))
		math.randomseed(42)
		print(math.random(1e9))
		return {1, 1, 1}
	end`)
	b.must()
	first := b.said()
	b.s.Seq--
	b.must()
	if b.said() != first {
		t.Errorf("the same decision said %q and then %q", first, b.said())
	}
	b.must()
	before, after := strings.Split(first, "\n"), strings.Split(b.said(), "\n")
	if before[0] == after[0] || before[1] != after[1] {
		t.Errorf("two decisions said %q and %q: want another number, and the same one after randomseed", before, after)
	}
	bad := load(t, "function schedule(s) return {math.random(0)} end")
	if _, err := bad.call(); err == nil || !strings.Contains(err.Error(), "interval is empty") {
		t.Errorf("got %v", err)
	}
}

// Lua that scripts use, checked from inside.
func TestLanguage(t *testing.T) {
	b := load(t, `
	local names = {"a", "b"}
	local function twice(x) return 2 * x end
	local counter = {by = 2}
	function counter:next(x) return x + self.by end
	policy = {about = "what is left of " .. _VERSION}
	function schedule(s)
		local i = 0
		repeat local last = i == 3; i = i + 1 until last
		while i > 0 do i = i - 1 if i == 2 then break end end
		do local i = 9 end
		for i = 3, 1, -1 do local twice = i end
		assert(i == 2)
		assert(twice(2) == 4 and counter:next(1) == 3 and #names == 2 and tostring(hold) == "hold" and hold == hold)
		assert(math.huge == 1/0 and math.max(1, 2) == 2 and string.format("%.2f", 1/3) == "0.33")
		assert(table.concat({1, "x", 2.5}, ",") == "1,x,2.5" and table.concat({}) == "" and table.concat({1, 2, 3}, "", 2, 3) == "23")
		assert(("ab"):rep(3) == "ababab" and ("x"):rep(0) == "" and ("x"):rep(-1) == "")
		local words = {}
		for w in ("a bc d"):gmatch("%a+") do words[#words + 1] = w end
		assert(table.concat(words, "/") == "a/bc/d" and ("a-b"):gsub("-", "+") == "a+b" and ("key=7"):match("=(%d+)") == "7")
		assert(not pcall(error, "x") and select("#", unpack({1, 2})) == 2)
		local ok, why = pcall(function() error("inner", 0) end)
		assert(not ok and why == "inner")
		local t = setmetatable({}, {__index = function(_, k) return k end})
		assert(t.x == "x" and getmetatable(s) == "locked" and getmetatable(hold) == "locked")
		for i, v in ipairs(names) do assert(names[i] == v) end
		local keys = {}
		for k in pairs({c = 1, a = 2, b = 3}) do keys[#keys + 1] = k end
		assert(table.concat(keys) == "cab")
		table.sort(keys)
		assert(table.concat(keys) == "abc")
		assert(rawget(s, "n") == s.n and s.n == 3 and tonumber("0x10") == 16)
		return {1, 1, 1}
	end`)
	b.must()
	if b.info.About != "what is left of Lua 5.1" {
		t.Errorf("about is %q", b.info.About)
	}
}
