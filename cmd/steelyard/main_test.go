// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// TestMain makes the test binary be steelyard when it is run with a command,
// as the daemon of the end-to-end tests is: what they run is then built just as
// the tests are, race detector included. For workers see asPlainWorker.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		if os.Args[1] == "worker" {
			asPlainWorker()
		}
		main()
	}
	code := labtest.Main(m)
	removePlainWorker()
	os.Exit(code)
}

// TestLostOutput: what could not be written was not said.
func TestLostOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"version"}, {"version", "-o", "json"}, {"config", "schema"}, {"check", "-c", "../../examples/01-web/steelyard.yaml"}} {
		var stderr strings.Builder
		code := execute(t.Context(), args, full, &stderr)
		if code != exitFailure || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%v on a full disk: code %d, %q", args, code, stderr.String())
		}
	}
}
