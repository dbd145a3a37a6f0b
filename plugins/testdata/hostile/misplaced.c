/* SPDX-License-Identifier: Apache-2.0 */
/* Wants the snapshot where no memory is. */
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name)))

EXPORT(sy_abi_v1) int32_t minor(void) { return 0; }
EXPORT(sy_alloc) uint32_t alloc(uint32_t size) { return 0xFFFFFF00u + (size & 0); }
EXPORT(sy_schedule) int32_t schedule(uint32_t ptr, uint32_t len) { return (int32_t)(ptr - len); }
