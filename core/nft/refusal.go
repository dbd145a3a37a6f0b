// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A RefusedError says which services of a Reweight were not taken, and why. The other services of the call are in force.
type RefusedError struct {
	Services map[string]error // by name; never empty
}

func (e *RefusedError) Error() string {
	names := slices.Sorted(maps.Keys(e.Services))
	text := fmt.Sprintf("reweight %s: %v", names[0], e.Services[names[0]])
	if len(names) > 1 {
		text += fmt.Sprintf(" (and %d more: %s)", len(names)-1, strings.Join(names[1:min(len(names), 6)], ", "))
	}
	return text
}

// Refused returns Services, to those who know this error by its methods only.
func (e *RefusedError) Refused() map[string]error { return e.Services }

// Unwrap returns the reasons, in the order of the services' names.
func (e *RefusedError) Unwrap() []error {
	var list []error
	for _, name := range slices.Sorted(maps.Keys(e.Services)) {
		list = append(list, e.Services[name])
	}
	return list
}

// byKernel is a refusal of the kernel's, apart from those of checkPlan, which are
// ours.
func byKernel(service string, cause error) error {
	return fmt.Errorf("service %s: the kernel refused it: %w", service, cause)
}

// hints are what an operator can do about an error of nf_tables, which itself
// is often worded for another purpose.
var hints = map[unix.Errno]string{
	unix.EPERM:  "the table belongs to another process, or this one lacks CAP_NET_ADMIN",
	unix.EEXIST: "another service has the same VIP, protocol and port, or someone else changed the table",
	unix.ENOENT: "someone else changed the table, or the kernel lacks a part of nf_tables",
	unix.ENFILE: fmt.Sprintf("a set is full: the table holds %d services and %d backends per family and forwarding", servicesSize, connsSize),
	unix.ENOMEM: "the kernel has no memory left",
}

// explain makes an error of the kernel's number, its own words if there are
// any, and a hint.
func explain(errno unix.Errno, text string) error {
	hint := hints[errno]
	switch {
	case text != "" && hint != "":
		return fmt.Errorf("%w: %s (%s)", errno, text, hint)
	case text+hint != "":
		return fmt.Errorf("%w: %s", errno, text+hint)
	default:
		return errno
	}
}
