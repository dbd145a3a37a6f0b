/* SPDX-License-Identifier: Apache-2.0 */
/* A later version of count, with the same state: its weights are higher by
 * 1,000. */
#include "steelyard.h"

SY_POLICY({"name": "count", "backend_slots": 1,
           "params": [{"name": "step", "default": 1, "min": 0, "max": 9}]})

SY_EXPORT(sy_schedule) int32_t count(sy_snapshot *s, uint32_t len) {
    (void)len;
    for (uint32_t i = 0; i < s->n; i++) {
        double *seen = sy_backend_state(s, i);
        sy_out(s)[i] = (uint32_t)((1001 + *seen * sy_param(s, 0)) * 1e5);
        *seen += 1;
    }
    return SY_OK;
}
