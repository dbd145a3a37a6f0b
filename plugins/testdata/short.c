/* SPDX-License-Identifier: Apache-2.0 */
/* Answers for all backends but the last. */
#include "steelyard.h"

SY_SCHEDULE(s) {
    for (uint32_t i = 0; i + 1 < s->n; i++) sy_set_weight(s, i, 1);
    return SY_OK;
}
