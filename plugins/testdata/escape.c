/* SPDX-License-Identifier: Apache-2.0 */
/* Wants a file: imports a function that the host does not offer. */
#include "steelyard.h"

__attribute__((import_module("env"), import_name("open"))) int32_t host_open(const char *path);

SY_SCHEDULE(s) {
    (void)s;
    return host_open("/etc/passwd");
}
