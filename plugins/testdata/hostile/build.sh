#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the hostile modules from their sources beside this file.
set -eu
cd "$(dirname "$0")"
for c in *.c; do
	clang --target=wasm32 -O2 -nostdlib -ffreestanding -Wall -Wextra -I ../../../sdk/c \
		-Wl,--no-entry,--strip-all -o "${c%.c}.wasm" "$c"
done
go run gen.go
chmod 644 *.wasm
