/* SPDX-License-Identifier: Apache-2.0 */
/* Recurses without end. */
#include "steelyard.h"

static volatile uint32_t depth;

__attribute__((noinline)) static uint32_t down(uint32_t n) {
    depth++;
    return n == 0xFFFFFFFF ? 0 : down(n + 1) + depth;
}

SY_SCHEDULE(s) { return (int32_t)down(s->n); }
