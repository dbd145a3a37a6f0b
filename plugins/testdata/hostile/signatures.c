/* SPDX-License-Identifier: Apache-2.0 */
/* Exports the right names with the wrong types. */
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name)))

EXPORT(sy_abi_v1) int64_t minor(void) { return 1; }
EXPORT(sy_alloc) void alloc(double size) { (void)size; }
EXPORT(sy_schedule) int32_t schedule(void) { return 0; }
