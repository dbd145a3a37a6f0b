/* SPDX-License-Identifier: Apache-2.0 */
/* Logs without measure, and then fails. */
#include "steelyard.h"

SY_SCHEDULE(s) {
    for (uint32_t i = 0; i < 10000; i++) sy_log(SY_WARN, "all work and no play makes a dull policy");
    return sy_fail(s->n ? "said too much" : "nothing to say");
}
