-- SPDX-License-Identifier: Apache-2.0
--
-- pi: a PI controller that makes CPUs equal. The README beside has the formula.

policy = {
  name = "pi",
  about = "configured weights, corrected by a PI controller until CPUs are equal",
  params = {
    { name = "kp", default = 0.3, min = 0, max = 2, unit = "ratio", about = "answer to a change of the error" },
    { name = "ki", default = 0.02, min = 0, max = 1, unit = "per second", about = "answer to a lasting error" },
    { name = "band", default = 8, min = 1, max = 1000, unit = "ratio", about = "largest factor on the configured weight" },
  },
  reads = { "cpu" },
  backend_state = { "factor", "err" },
}

local function clip(x, low, high)
  return x < low and low or x > high and high or x
end

function schedule(s)
  local p, factor, err = s.param, s.state.factor, s.state.err
  local sum, n = 0, 0
  for i = 1, s.n do
    if s.weight[i] > 0 and not s.down[i] and s.cpu[i] then
      sum, n = sum + s.cpu[i], n + 1
    end
  end
  local mean, seconds, w = clip(sum / n, 0.05, 1), math.min(s.seconds, 10), {}
  for i = 1, s.n do
    if s.weight[i] == 0 or s.down[i] then
      factor[i], err[i], w[i] = 0, 0, 0
    elseif not s.cpu[i] then
      w[i] = hold
    else
      local e = clip((mean - s.cpu[i]) / mean, -0.5, 0.5)
      local step = clip(p.kp * (e - err[i]) + p.ki * seconds * e, -0.25, 0.25)
      local f = factor[i] > 0 and factor[i] or 1
      factor[i], err[i] = clip(f * (1 + step), 1 / p.band, p.band), e
      w[i] = s.weight[i] * factor[i]
    end
  end
  return w
end
