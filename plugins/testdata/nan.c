/* SPDX-License-Identifier: Apache-2.0 */
/* Divides zero by zero. */
#include "steelyard.h"

SY_SCHEDULE(s) {
    volatile double zero = 0;
    for (uint32_t i = 0; i < s->n; i++) sy_set_weight(s, i, zero / zero);
    return SY_OK;
}
