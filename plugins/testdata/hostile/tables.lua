-- SPDX-License-Identifier: Apache-2.0
-- Tables without end.
function schedule(s)
  local all = {}
  while true do all[#all + 1] = {all, all, all, all} end
end
