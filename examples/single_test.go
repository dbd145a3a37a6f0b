// SPDX-License-Identifier: Apache-2.0

package examples_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// look is shares in words: percent, as whole numbers.
func look(shares []float64) string {
	var out []string
	for _, s := range shares {
		out = append(out, fmt.Sprintf("%.0f", 100*s))
	}
	return strings.Join(out, " ")
}

func service(weights ...uint32) *core.Snapshot {
	s := &core.Snapshot{Service: "web", ID: 1, Seq: 1, Now: time.Unix(0, 0).UTC(), Since: time.Second}
	for i, w := range weights {
		s.Backends = append(s.Backends, core.BackendInput{ID: uint64(i + 1), Weight: w, Health: core.Up})
	}
	return s
}

func known(v float64) core.Reading {
	return core.Reading{Value: v, Age: time.Second, Window: 5 * time.Second, Known: true}
}

// TestQueueSettles: workers of unequal speed, readings every 5 s: the queues end
// bounded and the shares stand still.
func TestQueueSettles(t *testing.T) {
	k := only(t, "22-queue-depth")
	s := service(100, 100, 200)
	s.Metrics = []string{"queue_depth"}
	speed, queue := []float64{10, 5, 20}, make([]float64, 3) // jobs per second; 28 come
	for i := range s.Backends {
		s.Backends[i].Custom = []core.Reading{known(0)}
	}
	var before, after []float64
	for second := range 1200 {
		s.Seq++
		shares := k.shares(t, s)
		for i := range queue {
			queue[i] = max(0, queue[i]+28*shares[i]-speed[i])
			if second%5 == 0 {
				s.Backends[i].Custom = []core.Reading{known(math.Round(queue[i]))}
			}
		}
		switch second {
		case 1100:
			before = shares
		case 1199:
			after = shares
		}
	}
	if look(before) != look(after) || queue[1] > 200 {
		t.Errorf("shares %s, 100 s later %s, queues %.0f", look(before), look(after), queue)
	}
}

func TestTimeOfDay(t *testing.T) {
	zone := time.FixedZone("east", 2*3600)
	tests := []struct {
		at   string
		up   string // of the four, + up and - down
		from float64
		to   float64
		want string
	}{
		{"21:29", "++++", 21.5, 6, "33 33 17 17"},
		{"21:31", "++++", 21.5, 6, "50 50 0 0"},
		{"05:59", "++++", 21.5, 6, "50 50 0 0"},
		{"06:00", "++++", 21.5, 6, "33 33 17 17"},
		{"02:00", "-+++", 21.5, 6, "0 100 0 0"},
		{"02:00", "--++", 21.5, 6, "0 0 50 50"},
		{"02:00", "++++", 1, 3, "50 50 0 0"},
		{"04:00", "++++", 1, 3, "33 33 17 17"},
	}
	for _, tt := range tests {
		t.Run(tt.at+" "+tt.up, func(t *testing.T) {
			at, err := time.ParseInLocation("15:04", tt.at, zone)
			if err != nil {
				t.Fatal(err)
			}
			s := service(100, 100, 50, 50)
			s.Now = at.AddDate(2026, 0, 0)
			for i, h := range tt.up {
				if h == '-' {
					s.Backends[i].Health = core.Down
				}
			}
			k := only(t, "23-time-of-day")
			k.params = map[string]float64{"from": tt.from, "to": tt.to}
			if got := look(k.shares(t, s)); got != tt.want {
				t.Errorf("shares %s, want %s", got, tt.want)
			}
		})
	}
}
