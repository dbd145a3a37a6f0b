/* SPDX-License-Identifier: Apache-2.0 */
/* Says nonsense about itself. */
#include "steelyard.h"

SY_MANIFEST("{{{{ \x01 not JSON at all")

SY_SCHEDULE(s) { return (int32_t)s->n; }
