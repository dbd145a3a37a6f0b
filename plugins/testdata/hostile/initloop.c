/* SPDX-License-Identifier: Apache-2.0 */
/* Its start never returns. */
#include "steelyard.h"

SY_EXPORT(_initialize) void begin(void) {
    volatile uint32_t forever = 0;
    for (;;) forever++;
}

SY_SCHEDULE(s) { return (int32_t)s->n; }
