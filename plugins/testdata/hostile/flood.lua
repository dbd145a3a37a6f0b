-- SPDX-License-Identifier: Apache-2.0
-- Prints without measure, and then fails.
function schedule(s)
  for i = 1, 1000 do print(i, "all work and no play makes a dull policy") end
  error("said too much")
end
