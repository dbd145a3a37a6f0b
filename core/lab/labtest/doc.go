// SPDX-License-Identifier: Apache-2.0

// Package labtest builds labs for tests. A test that needs one is skipped where
// namespaces are not to be had, and fails there if CI is set: a green CI has
// run them all.
package labtest
