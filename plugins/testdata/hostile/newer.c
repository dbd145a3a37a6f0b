/* SPDX-License-Identifier: Apache-2.0 */
/* Was written for a steelyard of the future. */
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name)))

EXPORT(sy_abi_v1) int32_t minor(void) { return 99; }
EXPORT(sy_alloc) uint32_t alloc(uint32_t size) { return size & 8; }
EXPORT(sy_schedule) int32_t schedule(uint32_t ptr, uint32_t len) { return (int32_t)(ptr - len); }
