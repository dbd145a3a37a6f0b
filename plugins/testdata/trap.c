/* SPDX-License-Identifier: Apache-2.0 */
/* Traps, after it wrote an answer and its state. */
#include "steelyard.h"

SY_POLICY({"name": "trap", "backend_slots": 1})

SY_SCHEDULE(s) {
    for (uint32_t i = 0; i < s->n; i++) {
        sy_set_weight(s, i, 1);
        sy_backend_state(s, i)[0] = 7;
    }
    __builtin_trap();
}
