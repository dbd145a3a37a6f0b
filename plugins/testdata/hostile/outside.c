/* SPDX-License-Identifier: Apache-2.0 */
/* Reads behind the end of its memory. */
#include "steelyard.h"

SY_SCHEDULE(s) { return *(volatile int32_t *)(0xFFFF0000u + (s->n & 3) * 4); }
