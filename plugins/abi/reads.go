// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"fmt"
	"slices"
	"strings"
)

// Names of readings, as a manifest declares them.
const (
	ReadsCPU         = "cpu"
	ReadsCores       = "cores"
	ReadsResponse    = "response"
	ReadsConnections = "connections"
	ReadsOpened      = "opened"
	ReadsClosed      = "closed"
)

// readings are all of them, in the order of the bits of RecValid.
var readings = []string{ReadsCPU, ReadsCores, ReadsResponse, ReadsConnections, ReadsOpened, ReadsClosed}

// ReadsAny reports whether the policy may go by one of these readings.
func (p *PolicyInfo) ReadsAny(names ...string) bool {
	return p.Reads == nil || slices.ContainsFunc(names, func(name string) bool { return slices.Contains(p.Reads, name) })
}

// Hidden are the readings that the policy does not ask for: see Frame.
func (p *PolicyInfo) Hidden() uint16 {
	var hidden uint16
	for i, name := range readings {
		if !p.ReadsAny(name) {
			hidden |= 1 << i
		}
	}
	return hidden
}

func (p *PolicyInfo) checkReads() error {
	for _, name := range p.Reads {
		if !slices.Contains(readings, name) {
			return fmt.Errorf("reads %q: there are %s", name, strings.Join(readings, ", "))
		}
	}
	return nil
}
