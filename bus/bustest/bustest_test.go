// SPDX-License-Identifier: Apache-2.0

package bustest_test

import (
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
)

func TestExpect(t *testing.T) {
	b := bustest.Start(t)
	publish := func() {
		for _, topic := range []string{"one", "two"} {
			if err := b.PublishEvent(core.Event{Severity: core.Info, Topic: topic, At: time.Now()}); err != nil {
				t.Error(err)
			}
		}
	}
	m := bustest.Expect(t, b, "event.>", publish, func(m bustest.Message) bool {
		return m.Body.(bus.EventBody).Topic == "two"
	})
	if want := "steelyard.v1.event.info.two"; m.Subject != want {
		t.Errorf("got %s, want %s", m.Subject, want)
	}
}
