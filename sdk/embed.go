// SPDX-License-Identifier: Apache-2.0

// Package sdk carries what authors of policies need in the program itself, so
// that `steelyard plugin new` writes a folder that builds without a download. The
// SDKs are the folders beside this file; docs/policies.md is about writing with
// them.
package sdk

import "embed"

// Files are the SDKs, and under template the first files of a new policy.
//
//go:embed go/policy/*.go c/*.h lua/*.lua assemblyscript/assembly/*.ts rust/Cargo.toml rust/src/*.rs template
var Files embed.FS
