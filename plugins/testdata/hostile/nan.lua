-- SPDX-License-Identifier: Apache-2.0
-- Not a number.
function schedule(s)
  local weights = {}
  for i = 1, s.n do weights[i] = 0 / 0 end
  return weights
end
