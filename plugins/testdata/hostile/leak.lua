-- SPDX-License-Identifier: Apache-2.0
-- Each call keeps some more, and answers well.
kept = {}
function schedule(s)
  local weights = {}
  for i = 1, s.n do weights[i] = 1 end
  kept[#kept + 1] = string.rep("x", 50000 + #kept)
  return weights
end
