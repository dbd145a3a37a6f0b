/* SPDX-License-Identifier: Apache-2.0 */
/* Traps, after it wrote an answer and its state. */
#include "steelyard.h"

SY_MANIFEST("{\"abi\":1,\"policies\":[{\"name\":\"trap\",\"backend_slots\":1}]}")

SY_SCHEDULE(s) {
    for (uint32_t i = 0; i < s->n; i++) {
        sy_set(s, i, 1);
        sy_backend_state(s, i)[0] = 7;
    }
    __builtin_trap();
}
