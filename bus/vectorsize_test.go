// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

// TestVectorOfManyNotes: a vector of the most backends that a service may have, all of them
// down with the longest reason there is, is no more than a NATS takes by default.
func TestVectorOfManyNotes(t *testing.T) {
	const most = 1 << 20
	v := core.Vector{Service: "web", Group: "edge", Node: "lb1", Epoch: 1, Seq: 1, Backends: make([]core.VectorBackend, MaxBackends)}
	for i := range v.Backends {
		v.Backends[i] = core.VectorBackend{Name: fmt.Sprintf("%s%04d", strings.Repeat("b", 28), i), Opinion: 0.12345678901234567, Health: core.Down,
			Note: strings.Repeat("<", core.MaxVectorNote)}
	}
	body := vectorToBody(&v)
	data, err := json.Marshal(&body)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > most {
		t.Errorf("%d bytes, want %d at most", len(data), most)
	}
	if body.Backends[0].Note == "" {
		t.Error("the first has no note any more")
	}
}
