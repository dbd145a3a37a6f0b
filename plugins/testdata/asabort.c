/* SPDX-License-Identifier: Apache-2.0 */
/* Aborts as a program of AssemblyScript does: a string is UTF-16, and its length
 * in bytes stands in the four bytes before it. */
#include "steelyard.h"

__attribute__((import_module("env"), import_name("abort"))) __attribute__((noreturn)) void
env_abort(const uint16_t *message, const uint16_t *file, uint32_t line, uint32_t column);

static const struct {
    uint32_t size;
    uint16_t text[8];
} message = {14, u"too hot"}, file = {8, u"p.ts"};

SY_SCHEDULE(s) { env_abort(message.text, file.text, s->n, 7); }
