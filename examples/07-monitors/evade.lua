-- SPDX-License-Identifier: Apache-2.0
--
-- evade: a backend that a monitor is worried about gets less. The metric `trouble` goes
-- from 0, all is well, to 1, all is wrong; whoever watches the backend publishes it.

policy = {
  about = "configured weights, less where a monitor reports trouble",
  params = {
    { name = "most", default = 0.9, min = 0, max = 0.99, unit = "ratio",
      about = "part of its weight that a backend loses at trouble 1" },
  },
  reads = {},
  metrics = { "trouble" },
}

function schedule(s)
  local w = {}
  for i = 1, s.n do
    -- Unknown, never told or too long ago, counts as none: a monitor that is away must
    -- not cost anybody anything.
    local t = s.metric.trouble[i] or 0
    if t < 0 then t = 0 elseif t > 1 then t = 1 end
    w[i] = s.weight[i] * (1 - s.param.most * t)
  end
  return w
end
