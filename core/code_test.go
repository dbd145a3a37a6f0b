// SPDX-License-Identifier: Apache-2.0

package core

import (
	"strings"
	"testing"
)

// A code's sentence and remedy stand beside the sample of every type of probe that has
// it, so they must be true of all of these.
func TestCodesFitTheirProbes(t *testing.T) {
	for _, tt := range []struct {
		code        Code
		says, never string
	}{
		{L4OK, "datagram", ""},                 // udp, of which nothing was accepted
		{L4Refused, "filter rejects", ""},      // a reset by a filter looks the same
		{L7Timeout, "UDP", "connected"},        // udp and dns, where silence may be a filter
		{L6Response, "does not speak TLS", ""}, // no certificate is wrong then
		{L7Status, "of http", "the path"},      // grpc has none
	} {
		text := tt.code.Explain() + "\n" + tt.code.Remedy()
		if !strings.Contains(text, tt.says) || tt.never != "" && strings.Contains(text, tt.never) {
			t.Errorf("%s: want %q in it, and not %q:\n%s", tt.code, tt.says, tt.never, text)
		}
	}
}
