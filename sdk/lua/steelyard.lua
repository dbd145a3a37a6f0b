-- SPDX-License-Identifier: Apache-2.0

-- What a policy script finds in steelyard, for editors and for a quick try.
--
-- For an editor with the Lua language server, put this file into the workspace:
-- it completes and checks s, policy, hold and log.
--
-- To try a policy without steelyard, give it a scenario:
--
--   lua5.1 steelyard.lua policy.lua scenario.lua
--
-- A scenario returns one step, or a list of steps, which share the state:
--
--   return { seconds = 1, param = { floor = 0.1 }, backends = {
--     { name = "web1", weight = 100, cpu = 0.4 },
--     { name = "web2", weight = 100, cpu = 0.9, metric = { queue_depth = 7 } },
--     { name = "web3", up = false } } }
--
-- What a backend does not say is unknown, but: weight 100, up, and of what is
-- given an age of half a second. Without a scenario, three backends are made up.

---What a policy says about itself. All of it is optional.
---@class steelyard.Policy
---@field name? string lower-case letters, digits, hyphens and underscores
---@field about? string one sentence
---@field params? steelyard.Param[] numbers that the configuration of a service may set, at most 64
---@field reads? steelyard.Reading[] what schedule goes by; without it, all, which costs the node a look at every connection
---@field metrics? string[] custom metrics, at most 16
---@field backend_state? string[] names of numbers kept about each backend, at most 64
---@field service_state? string[] names of numbers kept about the service, at most 64
---@field state_version? integer raise it when the meaning of a state slot changes: state begins with zeros then

---@alias steelyard.Reading "cpu"|"cores"|"response"|"connections"|"opened"|"closed"

---@class steelyard.Param
---@field name string
---@field default number|boolean
---@field min? number
---@field max? number
---@field unit? string
---@field type? "number"|"integer"|"boolean"
---@field about? string

---One service at one decision. A column has an entry for each backend, 1 to s.n;
---an entry that is nil is not known, which is not the same as 0.
---@class steelyard.Snapshot
---@field n integer how many backends there are
---@field id string[] the same for a backend on every node and after every restart
---@field weight number[] configured, 0 to 1000; 0 is no new connections
---@field share number[] applied by the decision before, 0 to 1
---@field up boolean[] health says up
---@field down boolean[] health says down; neither is not known yet
---@field health_seconds number[] seconds in this state of health
---@field cpu (number|nil)[] busy part of all cores, 0 to 1
---@field cpu_age (number|nil)[] seconds
---@field cpu_window (number|nil)[] seconds that cpu and closed were averaged over
---@field cpu_seq number[] counts fresh samples of cpu: while it stands still, cpu is a repeat
---@field cores (number|nil)[] count
---@field response (number|nil)[] seconds
---@field response_age (number|nil)[] seconds
---@field connections (number|nil)[] open connections
---@field connections_age (number|nil)[] seconds
---@field opened (number|nil)[] connections opened per second
---@field closed (number|nil)[] connections closed per second
---@field metric table<string, (number|nil)[]> custom metrics that policy.metrics names
---@field metric_age table<string, (number|nil)[]> seconds
---@field param table<string, any> parameters, a number or a boolean each
---@field state table<string, number[]> numbers that policy.backend_state names, to read and to set; 0 at first
---@field service table<string, number> numbers that policy.service_state names, to read and to set; 0 at first
---@field seconds number since the decision before; 0 at the first
---@field now number seconds since 1970, UTC
---@field utc_offset number seconds that the node's clock is east of UTC
---@field seq number counts decisions

---@type steelyard.Policy
policy = policy

---Gives each backend its weight: a list of s.n numbers from 0 upward, of which
---only the ratios matter, or hold.
---@type fun(s: steelyard.Snapshot): (number|steelyard.Hold)[]
schedule = schedule

---@class steelyard.Hold

---In place of a weight: no opinion. The backend keeps its share, and goes back
---to its configured weight in time.
---@type steelyard.Hold
hold = hold or setmetatable({}, { __tostring = function() return "hold" end, __metatable = "locked" })

---Writes a line to the log. print(...) does so with level "info".
---@param level "debug"|"info"|"warning"|"error"
---@param text any
function log(level, text) io.stderr:write(level, ": ", tostring(text), "\n") end

-- The rest tries a policy.

local allowed = { "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawset", "select",
  "setmetatable", "tonumber", "tostring", "type", "xpcall", "_VERSION", "string", "table", "math", "hold", "log" }
local always = { "id", "weight", "share", "up", "down", "health_seconds" }
local columns = { cpu = { "cpu", "cpu_age", "cpu_window", "cpu_seq" }, cores = { "cores" }, response = { "response", "response_age" },
  connections = { "connections", "connections_age" }, opened = { "opened" }, closed = { "closed" } }

-- sealed makes reading or setting a name that t does not have an error.
local function sealed(t, path)
  return setmetatable(t, {
    __index = function(_, k) error("there is no " .. path .. "." .. tostring(k) .. ": mistyped, or missing in policy?", 2) end,
    __newindex = function(_, k) error(path .. "." .. tostring(k) .. " cannot be set", 2) end,
  })
end

-- run loads the script as steelyard does: with few globals, which the script
-- sets once.
local function run(file)
  local env = { unpack = unpack or table.unpack, print = function(...)
    local t = { ... }
    for i = 1, select("#", ...) do t[i] = tostring(t[i]) end
    log("info", table.concat(t, "\t"))
  end }
  for _, name in ipairs(allowed) do env[name] = _G[name] end
  local f, err
  if setfenv then
    f, err = loadfile(file)
    if f then setfenv(f, env) end
  else
    f, err = loadfile(file, "t", env)
  end
  if not f then error(err, 0) end
  f()
  assert(type(env.schedule) == "function", file .. ": there is no function schedule(s)")
  return setmetatable(env, { __newindex = function(_, k)
    error("a function sets the global " .. tostring(k) .. ": use s.state, s.service or local", 2)
  end })
end

local function known(b, name)
  if b[name] ~= nil then return b[name] end
  local of = name:match("^(.*)_age$")
  if of and b[of] ~= nil then return 0.5 end
  if name == "cpu_window" and b.cpu then return 5 end
  if name == "cpu_seq" then return 0 end
end

-- column lists one field of each backend.
local function column(step, value)
  local t = {}
  for i, b in ipairs(step.backends) do t[i] = value(b, i) end
  return t
end

local function snapshot(policy, step, seq, memory)
  local s = { n = #step.backends, seconds = step.seconds or (seq > 1 and 1 or 0), now = step.now or 1700000000 + seq,
    utc_offset = step.utc_offset or 0, seq = seq, metric = {}, metric_age = {}, param = {}, state = {}, service = {} }
  local fixed = { weight = 100, share = 1 / s.n, up = true, down = false, health_seconds = 60 }
  for _, name in ipairs(always) do
    s[name] = column(step, function(b, i)
      if name == "id" then return tostring(b.id or b.name or i) end
      if name == "down" then return b.down or b.up == false end
      if b[name] ~= nil then return b[name] end
      return fixed[name]
    end)
  end
  for _, reading in ipairs(policy.reads or { "cpu", "cores", "response", "connections", "opened", "closed" }) do
    for _, name in ipairs(columns[reading] or error("policy.reads: there is no " .. tostring(reading))) do
      s[name] = column(step, function(b) return known(b, name) end)
    end
  end
  for _, name in ipairs(policy.metrics or {}) do
    s.metric[name] = column(step, function(b) return b.metric and b.metric[name] end)
    s.metric_age[name] = column(step, function(b) return b.metric and b.metric[name] and 0.5 end)
  end
  for _, p in ipairs(policy.params or {}) do
    s.param[p.name] = p.default
    if step.param and step.param[p.name] ~= nil then s.param[p.name] = step.param[p.name] end
  end
  for _, slot in ipairs(policy.backend_state or {}) do
    s.state[slot] = column(step, function(_, i) return (memory.backends[s.id[i]] or {})[slot] or 0 end)
  end
  for _, slot in ipairs(policy.service_state or {}) do s.service[slot] = memory.service[slot] or 0 end
  for _, t in ipairs({ "metric", "metric_age", "param", "state", "service" }) do sealed(s[t], "s." .. t) end
  return sealed(s, "s")
end

-- keep takes the state out of s, for the next step.
local function keep(policy, s, memory)
  for i = 1, s.n do
    local mine = {}
    for _, slot in ipairs(policy.backend_state or {}) do mine[slot] = s.state[slot][i] end
    memory.backends[s.id[i]] = mine
  end
  for _, slot in ipairs(policy.service_state or {}) do memory.service[slot] = s.service[slot] end
end

local function check(weights, n)
  assert(type(weights) == "table", "schedule returned no list of weights")
  for i = 1, n do
    local w = weights[i]
    if w ~= hold and not (type(w) == "number" and w >= 0 and w < 1 / 0) then
      error("the weight of backend " .. i .. " is " .. tostring(w) .. ": want a number from 0 upward, or hold", 0)
    end
  end
  assert(weights[n + 1] == nil, "schedule returned more weights than there are backends")
end

local function try(file, scenario)
  local env = run(file)
  local steps = scenario and dofile(scenario) or { backends = {
    { weight = 100, cpu = 0.2, cores = 8, response = 0.010, connections = 20, opened = 9, closed = 9 },
    { weight = 100, cpu = 0.8, cores = 4, response = 0.040, connections = 60, opened = 9, closed = 9 },
    { weight = 50, up = false } } }
  if steps.backends then steps = { steps } end
  local about, memory = env.policy or {}, { backends = {}, service = {} }
  for seq, step in ipairs(steps) do
    local s = snapshot(about, step, seq, memory)
    math.randomseed(seq)
    local weights = env.schedule(s)
    check(weights, s.n)
    keep(about, s, memory)
    local out = {}
    for i, b in ipairs(step.backends) do
      out[i] = (b.name or i) .. "=" .. (weights[i] == hold and "hold" or string.format("%.6g", weights[i]))
    end
    print(table.concat(out, " "))
  end
end

if arg and arg[0] and arg[0]:match("steelyard%.lua$") then
  if not arg[1] then
    io.stderr:write("usage: lua5.1 steelyard.lua policy.lua [scenario.lua]\n")
    os.exit(2)
  end
  local ok, err = pcall(try, arg[1], arg[2])
  if not ok then
    io.stderr:write(tostring(err), "\n")
    os.exit(1)
  end
end
