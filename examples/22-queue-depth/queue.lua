-- SPDX-License-Identifier: Apache-2.0
--
-- queue: workers whose queues are shorter than the others' get more jobs. The
-- README beside has the formula and how to choose slack.

policy = {
  about = "configured weights, corrected by how many jobs wait",
  params = {
    { name = "slack", default = 20, min = 1, max = 100000, unit = "jobs",
      about = "queue of a mean backend that is reckoned with beside the real one; at least what comes between two readings" },
  },
  reads = {},
  metrics = { "queue_depth" },
}

local function clip(x, low, high)
  return x < low and low or x > high and high or x
end

function schedule(s)
  local depth = s.metric.queue_depth
  local jobs, weights, n = 0, 0, 0
  for i = 1, s.n do
    if s.weight[i] > 0 and not s.down[i] and depth[i] then
      jobs, weights, n = jobs + depth[i], weights + s.weight[i], n + 1
    end
  end
  local w = {}
  for i = 1, s.n do
    if s.weight[i] == 0 or s.down[i] then
      w[i] = 0
    elseif not depth[i] then
      w[i] = hold -- nobody told us, or it was too long ago
    else
      local part = s.weight[i] / weights
      local fair, slack = jobs * part, s.param.slack * n * part
      w[i] = s.weight[i] * clip((fair + slack) / (depth[i] + slack), 0.25, 4)
    end
  end
  return w
end
