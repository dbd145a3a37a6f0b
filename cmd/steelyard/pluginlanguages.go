// SPDX-License-Identifier: Apache-2.0

package main

// A language is what plugin new knows of one.
type language struct {
	name   string
	title  string
	source string // the file to edit; NAME stands for the policy's name
	output string // what the configuration names
	builds string // what make does
	needs  string
	butFor string // what is downloaded after all
	sdk    string // a sentence on the SDK's copy
	make   string // the rules that make output
	clean  string // the rule clean, if it differs
	// copies are folders of sdk.Files and where they go; of a folder the test
	// files stay behind.
	copies map[string]string
}

const cleanBuilt = "\nclean:\n\trm -f NAME.wasm\n"

var languages = []language{
	{
		name: "go", title: "Go", source: "main.go", output: "NAME.wasm", builds: "writes NAME.wasm", needs: "Go 1.24 or later",
		sdk:    "`internal/policy` is the SDK; `go doc ./internal/policy` prints what there is.",
		copies: map[string]string{"go/policy": "internal/policy"},
		clean:  cleanBuilt,
		make: `GO ?= go

build: NAME.wasm
NAME.wasm: main.go go.mod $(wildcard internal/policy/*.go)
	GOOS=wasip1 GOARCH=wasm GOWORK=off GOFLAGS= GOTOOLCHAIN=local $(GO) build -trimpath -buildvcs=false -buildmode=c-shared -ldflags='-s -w' -o $@ .
`,
	},
	{
		name: "c", title: "C", source: "NAME.c", output: "NAME.wasm", builds: "writes NAME.wasm, some 3 kB", needs: "clang and lld (Debian: apt-get install clang lld)",
		sdk:    "`steelyard.h` is the SDK, one header.",
		copies: map[string]string{"c": "."},
		clean:  cleanBuilt,
		make: `CLANG ?= clang

build: NAME.wasm
NAME.wasm: NAME.c steelyard.h
	$(CLANG) --target=wasm32 -O2 -nostdlib -ffreestanding -Wall -Wextra -Wl,--no-entry,--strip-all -o $@ NAME.c
`,
	},
	{
		name: "assemblyscript", title: "AssemblyScript", source: "assembly/index.ts", output: "NAME.wasm", builds: "writes NAME.wasm, some 3 kB", needs: "node and npm",
		butFor: " but the compiler, by npm, at the first make",
		sdk:    "`steelyard` is the SDK.",
		copies: map[string]string{"assemblyscript/assembly": "steelyard"},
		clean:  cleanBuilt,
		make: `ASC ?= node_modules/.bin/asc

build: NAME.wasm
NAME.wasm: assembly/index.ts $(wildcard steelyard/*.ts) $(ASC)
	$(ASC) assembly/index.ts -O --noAssert --runtime stub -o $@

node_modules/.bin/asc: package.json
	npm install --no-audit --no-fund
	touch $@
`,
	},
	{
		name: "rust", title: "Rust", source: "src/lib.rs", output: "NAME.wasm", builds: "writes NAME.wasm, some 10 kB", needs: "rustc with the target wasm32-unknown-unknown (Debian: apt-get install rustc libstd-rust-dev-wasm32; if another rustc is first in the PATH, `make RUSTC=/usr/bin/rustc`)",
		sdk:    "`steelyard` is the SDK, a crate. `cargo build --release --target wasm32-unknown-unknown` does as well, but make needs no cargo.",
		copies: map[string]string{"rust": "steelyard"},
		clean:  "\nclean:\n\trm -f NAME.wasm libsteelyard.rlib\n",
		make: `RUSTC ?= rustc
RUSTFLAGS := --edition 2021 --target wasm32-unknown-unknown -C opt-level=3 -C panic=abort -C strip=symbols

build: NAME.wasm
NAME.wasm: src/lib.rs libsteelyard.rlib
	$(RUSTC) $(RUSTFLAGS) --crate-type cdylib --extern steelyard=libsteelyard.rlib -o $@ $<

libsteelyard.rlib: $(wildcard steelyard/src/*.rs)
	$(RUSTC) $(RUSTFLAGS) --crate-type rlib --crate-name steelyard -o $@ steelyard/src/lib.rs
`,
	},
	{
		name: "lua", title: "Lua", source: "NAME.lua", output: "NAME.lua", builds: "looks whether steelyard takes it: there is nothing to build", needs: "no compiler",
		sdk:    "`steelyard.lua` tells an editor what there is; it is not needed to run.",
		copies: map[string]string{"lua": "."},
		clean:  "\nclean:\n",
		make: `
build: NAME.lua
	$(STEELYARD) plugin validate NAME.lua
`,
	},
}
