// SPDX-License-Identifier: Apache-2.0

package core

// A Feature is a part of the kernel that some configurations need, and whether it
// is there.
type Feature struct {
	Name    string `json:"name"` // such as "flowtable"
	Present bool   `json:"present"`
	Lost    string `json:"lost,omitempty"`   // what cannot be had without it; empty if it is there
	Remedy  string `json:"remedy,omitempty"` // what an operator can do about it; empty if there is nothing
}
