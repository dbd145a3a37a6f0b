-- SPDX-License-Identifier: Apache-2.0
--
-- guarded: the capacity estimate of least-cpu, and a guard that takes share from a
-- backend whose answers or connections say that its CPU does not tell the whole
-- story. The README beside has the formulas.

policy = {
  about = "capacity by CPU, corrected where response time or open connections are out of line",
  params = {
    { name = "alpha", default = 0.3, min = 0.01, max = 1, unit = "ratio", about = "weight of a fresh CPU sample" },
    { name = "tolerance", default = 1.5, min = 1.1, max = 10, unit = "ratio", about = "how far above the pool is in line" },
    { name = "rate", default = 0.1, min = 0.001, max = 1, unit = "per second", about = "speed of the guard" },
    { name = "least", default = 0.1, min = 0.01, max = 1, unit = "ratio", about = "least part of its capacity that the guard leaves a backend" },
  },
  reads = { "cpu", "closed", "response", "connections" },
  backend_state = { "estimate", "seq", "guard" },
}

local function clip(x, low, high)
  return x < low and low or x > high and high or x
end

local function takes_part(s, i)
  return s.weight[i] > 0 and not s.down[i]
end

-- learn takes a fresh CPU sample of backend i into its estimate.
local function learn(s, i)
  local cpu, closed, est, seq = s.cpu[i], s.closed[i], s.state.estimate, s.state.seq
  if not (s.up[i] and cpu and closed) or s.cpu_seq[i] == seq[i] then return end
  seq[i] = s.cpu_seq[i]
  if cpu < 0.05 or closed * s.cpu_window[i] < 5 then return end
  local x = closed / cpu
  if est[i] > 0 then x = est[i] + s.param.alpha * (x - est[i]) end
  est[i] = x
end

-- pool is what the backends of known capacity are like together: the mean of
-- their response times, and open connections per unit of capacity.
local function pool(s)
  local est, p = s.state.estimate, { capacity = 0, weight = 0 }
  local response, answers, open, known = 0, 0, 0, 0
  for i = 1, s.n do
    if takes_part(s, i) and est[i] > 0 then
      p.capacity, p.weight = p.capacity + est[i], p.weight + s.weight[i]
      if s.response[i] then response, answers = response + s.response[i], answers + 1 end
      if s.connections[i] then open, known = open + s.connections[i], known + est[i] end
    end
  end
  p.response = answers > 0 and response / answers or nil
  p.open = known > 0 and open / known or nil
  return p
end

-- excess is how far backend i is above the pool, in the worse of the two ways; 1
-- where nothing is known. One millisecond and ten connections are no news.
local function excess(s, i, p)
  local worst = 1
  if p.response and s.response[i] then
    worst = math.max(worst, (s.response[i] + 0.001) / (p.response + 0.001))
  end
  if p.open and s.connections[i] then
    worst = math.max(worst, (s.connections[i] + 10) / (p.open * s.state.estimate[i] + 10))
  end
  return worst
end

function schedule(s)
  for i = 1, s.n do learn(s, i) end
  local p, est, guard, w = pool(s), s.state.estimate, s.state.guard, {}
  local seconds = math.min(s.seconds, 10)
  for i = 1, s.n do
    if not takes_part(s, i) then
      w[i] = 0
    elseif est[i] > 0 then
      -- Down by half of rate at most, up by a tenth of it: bad news is urgent.
      local e = clip(s.param.tolerance / excess(s, i, p) - 1, -0.5, 0.1)
      local g = guard[i] > 0 and guard[i] or 1
      guard[i] = clip(g * (1 + clip(s.param.rate * seconds * e, -0.25, 0.25)), s.param.least, 1)
      w[i] = est[i] * guard[i]
    elseif not s.cpu[i] then
      w[i] = hold
    elseif p.capacity > 0 then
      w[i] = s.weight[i] * (p.capacity / p.weight)
    else
      w[i] = s.weight[i]
    end
  end
  return w
end
