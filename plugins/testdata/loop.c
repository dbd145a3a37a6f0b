/* SPDX-License-Identifier: Apache-2.0 */
/* Never returns. */
#include "steelyard.h"

SY_SCHEDULE(s) {
    volatile uint32_t forever = s->n;
    for (;;) forever++;
    return SY_OK;
}
