-- SPDX-License-Identifier: Apache-2.0
-- Answers for all backends but the last.
function schedule(s)
  local weights = {}
  for i = 1, s.n - 1 do weights[i] = 1 end
  return weights
end
