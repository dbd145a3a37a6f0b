/* SPDX-License-Identifier: Apache-2.0 */
/* Exports nothing but its memory. */
void nothing(void) {}
