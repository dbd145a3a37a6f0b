-- SPDX-License-Identifier: Apache-2.0
-- The policy of fair.c, in Lua: what a backend has left of its processors.
policy = {name = "fair", reads = {"cpu", "cores"}}

function schedule(s)
  local weights, cpu, cores = {}, s.cpu, s.cores
  for i = 1, s.n do
    if cpu[i] then weights[i] = (1 - cpu[i]) * cores[i] else weights[i] = hold end
  end
  return weights
end
