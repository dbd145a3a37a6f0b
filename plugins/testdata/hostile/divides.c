/* SPDX-License-Identifier: Apache-2.0 */
/* Divides by zero. */
#include "steelyard.h"

SY_SCHEDULE(s) {
    volatile uint32_t zero = 0;
    return (int32_t)(s->n / zero);
}
