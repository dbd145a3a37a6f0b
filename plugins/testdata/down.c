/* SPDX-License-Identifier: Apache-2.0 */
/* Gives all to the backends that are down. */
#include "steelyard.h"

SY_SCHEDULE(s) {
    for (uint32_t i = 0; i < s->n; i++) sy_set_weight(s, i, sy_at(s, i)->health == SY_DOWN);
    return SY_OK;
}
