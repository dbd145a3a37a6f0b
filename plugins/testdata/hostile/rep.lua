-- SPDX-License-Identifier: Apache-2.0
-- A string larger than any machine's memory, in one call.
function schedule(s)
  local text = string.rep("0123456789abcdef", 2 ^ 36)
  return {#text}
end
