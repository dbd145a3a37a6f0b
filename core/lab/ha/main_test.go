// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"os"
	"testing"

	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// long says that `make soak` runs, and not `go test`.
var long = os.Getenv("STEELYARD_SOAK") != ""

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }
