// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// Options are those of nats.go that log in this way, for who has no node.
func (l Login) Options() ([]nats.Option, error) {
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("log in to NATS: %w", err)
	}
	return l.options()
}
