/* SPDX-License-Identifier: Apache-2.0 */
/* Wants to take connections away. */
#include "steelyard.h"

SY_SCHEDULE(s) {
    for (uint32_t i = 0; i < s->n; i++) sy_set_weight(s, i, -1);
    return SY_OK;
}
