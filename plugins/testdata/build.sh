#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the guests of the tests from their sources beside this file.
set -eu
cd "$(dirname "$0")"
for c in *.c; do
	clang --target=wasm32 -O2 -nostdlib -ffreestanding -Wall -Wextra -I ../../sdk/c \
		-Wl,--no-entry,--strip-all -o "${c%.c}.wasm" "$c"
done
# A module whose memory is not exported: everything else is right.
clang --target=wasm32 -O2 -nostdlib -ffreestanding -c -I ../../sdk/c -o count.o count.c
wasm-ld --no-entry --strip-all --import-memory -o memless.wasm count.o
rm count.o
chmod 644 *.wasm
sh hostile/build.sh
