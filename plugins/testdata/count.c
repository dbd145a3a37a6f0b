/* SPDX-License-Identifier: Apache-2.0 */
/* A good citizen with state: the weight of a backend is 1 + the number of
 * earlier calls, plus the parameter step for each of them. */
#include "steelyard.h"

SY_MANIFEST("{\"abi\":1,\"policies\":[{\"name\":\"count\",\"backend_slots\":1,"
            "\"params\":[{\"name\":\"step\",\"default\":1,\"min\":0,\"max\":9}]}]}")

SY_SCHEDULE(s) {
    for (uint32_t i = 0; i < s->n; i++) {
        double *seen = sy_backend_state(s, i);
        sy_set(s, i, 1 + *seen * sy_param(s, 0, 1));
        *seen += 1;
    }
    return SY_OK;
}
