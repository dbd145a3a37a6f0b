-- SPDX-License-Identifier: Apache-2.0
-- Recursion without end, through pcall.
local function down(n)
  local ok, r = pcall(function() return 1 + down(n + 1) end)
  return ok and r or error("deep")
end
function schedule(s) return {down(0)} end
