/* SPDX-License-Identifier: Apache-2.0 */
/* Takes all the memory it can get and uses it, then fails. */
#include "steelyard.h"

SY_SCHEDULE(s) {
    uint32_t pages = 0;
    while (__builtin_wasm_memory_grow(0, 1) != (uintptr_t)-1) {
        *(volatile char *)((__builtin_wasm_memory_size(0) << 16) - 1) = 1;
        pages++;
    }
    (void)s;
    return sy_fail(pages > 64 ? "no more memory" : "hardly any memory");
}
