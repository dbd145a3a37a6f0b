// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"os"
	"testing"

	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// TestMain lets an unprivileged user run the tests as root of a user namespace.
func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }
