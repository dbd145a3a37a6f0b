-- SPDX-License-Identifier: Apache-2.0
-- The policy count of count.c, in Lua.
policy = {
  name = "count",
  params = {{name = "step", default = 1, min = 0, max = 9}},
  reads = {},
  backend_state = {"seen"},
}

function schedule(s)
  local weights, seen, step = {}, s.state.seen, s.param.step
  for i = 1, s.n do
    weights[i] = 1 + seen[i] * step
    seen[i] = seen[i] + 1
  end
  return weights
end
