# SPDX-License-Identifier: Apache-2.0
#
# How a policy is built in each language; examples 20 and 21 include it. The
# modules go to OUT: go.wasm, c.wasm, assemblyscript.wasm, rust.wasm. Lua needs no
# building. The AssemblyScript compiler is fetched where there is none. "steelyard plugin new" writes a folder with a Makefile of its own.
OUT ?= .
SDK := ../../sdk
CLANG ?= clang
RUSTC ?= rustc
ASC ?= $(shell command -v asc || ../../.ci/asc)
RUSTFLAGS := --edition 2021 --target wasm32-unknown-unknown -C opt-level=3 -C panic=abort -C strip=symbols

.PHONY: all go c assemblyscript rust clean
all: go c assemblyscript rust

go:
	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags='-s -w' -o $(OUT)/go.wasm ./go

c:
	$(CLANG) --target=wasm32 -O2 -nostdlib -ffreestanding -Wall -Wextra -I $(SDK)/c \
		-Wl,--no-entry,--strip-all -o $(OUT)/c.wasm c/$(NAME).c

assemblyscript:
	$(ASC) assemblyscript/$(NAME).ts -O --noAssert --runtime stub -o $(OUT)/assemblyscript.wasm

rust:
	$(RUSTC) $(RUSTFLAGS) --crate-type rlib --crate-name steelyard -o $(OUT)/libsteelyard.rlib $(SDK)/rust/src/lib.rs
	$(RUSTC) $(RUSTFLAGS) --crate-type cdylib --extern steelyard=$(OUT)/libsteelyard.rlib -o $(OUT)/rust.wasm rust/$(NAME).rs
	rm -f $(OUT)/libsteelyard.rlib

clean:
	rm -f $(OUT)/*.wasm
