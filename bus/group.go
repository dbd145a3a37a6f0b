// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"regexp"
)

var groupPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// CheckGroup holds the name of a group against what it may be.
func CheckGroup(group string) error {
	if !groupPattern.MatchString(group) {
		return fmt.Errorf("group %q: want letters, digits, - and _", group)
	}
	return nil
}

// DefinitionsBucket is the name in JetStream of the bucket and of the object store with
// the definitions of a group: the permissions of nodes, and bus/definitions, go by it.
func DefinitionsBucket(group string) string { return "STEELYARD_" + group }
