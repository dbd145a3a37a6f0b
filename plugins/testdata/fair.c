/* SPDX-License-Identifier: Apache-2.0 */
/* What a backend has left of its processors. */
#include "steelyard.h"

SY_POLICY({"name": "fair", "reads": ["cpu", "cores"]})

SY_SCHEDULE(s) {
    for (uint32_t i = 0; i < s->n; i++) {
        const sy_backend *b = sy_at(s, i);
        if (b->valid & SY_CPU) sy_set_weight(s, i, (1 - b->cpu) * b->cores);
        else sy_hold(s, i);
    }
    return SY_OK;
}
