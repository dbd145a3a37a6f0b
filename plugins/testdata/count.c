/* SPDX-License-Identifier: Apache-2.0 */
/* A good citizen with state: the weight of a backend is 1 + the number of
 * earlier calls, plus the parameter step for each of them. Tests look at the
 * number itself, in millionths, so it writes the words of the answer. */
#include "steelyard.h"

SY_POLICY({"name": "count", "backend_slots": 1,
           "params": [{"name": "step", "default": 1, "min": 0, "max": 9}]})

SY_EXPORT(sy_schedule) int32_t count(sy_snapshot *s, uint32_t len) {
    (void)len;
    for (uint32_t i = 0; i < s->n; i++) {
        double *seen = sy_backend_state(s, i);
        sy_out(s)[i] = (uint32_t)((1 + *seen * sy_param(s, 0)) * 1e6);
        *seen += 1;
    }
    return SY_OK;
}
