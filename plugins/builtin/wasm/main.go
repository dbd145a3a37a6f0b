// SPDX-License-Identifier: Apache-2.0

// Command wasm is the module of the shipped policies. From the repository's
// root:
//
//	GOFLAGS= GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -buildvcs=false \
//		-ldflags='-s -w -buildid=' -o plugins/builtin/builtin.wasm ./plugins/builtin/wasm
package main

import (
	"github.com/steelyard-lb/steelyard/plugins/builtin"
	"github.com/steelyard-lb/steelyard/sdk/go/policy"
)

// A module's main is never called: registering must happen while it is being
// initialised.
func init() {
	for _, p := range builtin.Policies() {
		policy.Register(p)
	}
}

func main() {}
