/* SPDX-License-Identifier: Apache-2.0 */
/* Never ends to say what it is. */
#include "steelyard.h"

SY_EXPORT(sy_manifest) uint64_t manifest(void) {
    volatile uint32_t forever = 0;
    for (;;) forever++;
}

SY_SCHEDULE(s) { return (int32_t)s->n; }
