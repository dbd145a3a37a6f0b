/* SPDX-License-Identifier: Apache-2.0 */
/* Answers with words that are no weights. */
#include "steelyard.h"

SY_EXPORT(sy_schedule) int32_t garbage(sy_snapshot *s, uint32_t len) {
    (void)len;
    for (uint32_t i = 0; i < s->n; i++) sy_out(s)[i] = 0xDEADBEEFu;
    return SY_OK;
}
