-- SPDX-License-Identifier: Apache-2.0
--
-- capacity: weighted least CPU. The README beside has the formula.

policy = {
  name = "capacity",
  about = "shares that make the CPUs of all backends equally busy",
  params = {
    { name = "alpha", default = 0.3, min = 0.01, max = 1, unit = "ratio", about = "weight of a fresh sample" },
  },
  reads = { "cpu", "closed" },
  backend_state = { "estimate", "seq" },
}

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

function schedule(s)
  local est, known, weights = s.state.estimate, 0, 0
  for i = 1, s.n do
    learn(s, i)
    if s.weight[i] > 0 and not s.down[i] and est[i] > 0 then
      known, weights = known + est[i], weights + s.weight[i]
    end
  end
  local w = {}
  for i = 1, s.n do
    if s.weight[i] == 0 or s.down[i] then w[i] = 0
    elseif est[i] > 0 then w[i] = est[i]
    elseif not s.cpu[i] then w[i] = hold
    elseif known > 0 then w[i] = s.weight[i] * (known / weights)
    else w[i] = s.weight[i] end
  end
  return w
end
