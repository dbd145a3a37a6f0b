// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"slices"
)

// A clusterBody is a body of one of the three classes by which nodes meet.
type clusterBody interface {
	check() error
	// said are the names of the body in the order of the subject's.
	said() []string
}

func (b *presenceBody) said() []string { return []string{b.Group, b.Node} }
func (b *vectorBody) said() []string   { return []string{b.Group, b.Service, b.Node} }
func (b *flowsBody) said() []string    { return []string{b.Group, b.Service, b.Node} }

// decodeCluster reads the body of a class by which nodes meet. Its errors name the
// subject, the field and the cause.
func decodeCluster(subj string, where Subject, data []byte, b clusterBody) error {
	err := parseBody(data, b)
	if err == nil {
		err = b.check()
	}
	if err == nil && !slices.Equal(b.said(), where.Names) {
		err = fmt.Errorf("body says %q, subject says %q: %w", b.said(), where.Names, errMismatch)
	}
	if err != nil {
		return fmt.Errorf("decode %s: %w", subj, err)
	}
	return nil
}
