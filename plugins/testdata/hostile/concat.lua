-- SPDX-License-Identifier: Apache-2.0
-- A string that doubles.
function schedule(s)
  local text = "0123456789abcdef"
  while true do text = text .. text end
end
