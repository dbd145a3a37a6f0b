-- SPDX-License-Identifier: Apache-2.0
policy = {name = "x", params = "many"}
function schedule(s) return {} end
