-- SPDX-License-Identifier: Apache-2.0
-- A pattern that tries for ever.
function schedule(s)
  local text = string.rep("a", 5000)
  return {string.find(text, ".-.-.-.-.-.-b")}
end
