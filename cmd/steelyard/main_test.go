// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// TestMain makes the test binary be steelyard when it is run with a command,
// as the daemon and the worker of the end-to-end tests are: what they run is
// then built just as the tests are, race detector included.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		main()
	}
	os.Exit(labtest.Main(m))
}
