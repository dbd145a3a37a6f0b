// SPDX-License-Identifier: Apache-2.0

package core

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// moment is one of a ballot's life.
func moment(seconds float64) time.Time {
	return time.Unix(1_800_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

func TestNextEpoch(t *testing.T) {
	now := moment(0)
	tests := []struct {
		name string
		seen uint64
		now  time.Time
		want uint64
	}{
		{"the clock is ahead of all that was seen", 7, now, uint64(now.UnixMilli())<<8 | KeyOf("lb1")&255},
		{"the clock is behind", uint64(now.UnixMilli()+120_000) << 8, now, uint64(now.UnixMilli()+120_000)<<8 + 1},
		{"the clock was never set", 7, time.Unix(-1, 0), max(8, KeyOf("lb1")&255)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := NextEpoch(test.seen, test.now, "lb1")
			if got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			if got <= test.seen {
				t.Errorf("%d is not above %d, which was seen", got, test.seen)
			}
		})
	}
}

func TestEpochTooFar(t *testing.T) {
	now := moment(0)
	for _, test := range []struct {
		ahead time.Duration
		want  bool
	}{{0, false}, {23 * time.Hour, false}, {25 * time.Hour, true}, {-48 * time.Hour, false}} {
		if got := EpochTooFar(NextEpoch(0, now.Add(test.ahead), "lb2"), now); got != test.want {
			t.Errorf("an epoch %v ahead: too far %v, want %v", test.ahead, got, test.want)
		}
	}
	if !EpochTooFar(1<<64-1, now) {
		t.Error("the highest number there is passes for an epoch")
	}
}

// TestVectorBefore: Mark orders as Vector.Before does.
func TestVectorBefore(t *testing.T) {
	draw := func(t *rapid.T, name string) *Vector {
		return &Vector{
			Epoch: rapid.Uint64Range(1, 3).Draw(t, name+" epoch"), Seq: rapid.Uint64Range(1, 3).Draw(t, name+" seq"),
			Node: rapid.SampledFrom([]string{"lb1", "lb2"}).Draw(t, name+" node"),
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t, "a"), draw(t, "b")
		if got, want := a.Mark().Compare(b.Mark()) < 0, a.Before(b); got != want {
			t.Errorf("%v before %v: Mark says %v, Before %v", a.Mark(), b.Mark(), got, want)
		}
	})
}

func TestBallotJudge(t *testing.T) {
	tests := []struct {
		name  string
		place int
		there bool
		after float64 // seconds since the first look
		want  bool
	}{
		{"the first leads at once", 0, false, 0, true},
		{"the first leads though another does", 0, true, 0, true},
		{"the second waits for the first", 1, false, 2.9, false},
		{"the second leads where nobody does", 1, false, 3, true},
		{"the third waits for both", 2, false, 5.9, false},
		{"the second leaves a leader alone", 1, true, 100, false},
		{"who may not lead does not", -1, false, 100, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := NewBallot("lb1")
			b.Judge(-1, test.there, moment(0))
			if got := b.Judge(test.place, test.there, moment(test.after)); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestBallotHear(t *testing.T) {
	tests := []struct {
		name  string
		leads uint64 // with this epoch; 0: it follows epoch 5 of lb2
		heard Mark
		there bool
		want  Verdict
		still bool // it leads afterwards
	}{
		{"a follower takes the next", 0, Mark{5, "lb2", 4}, true, VectorTaken, false},
		{"the same one again", 0, Mark{5, "lb2", 3}, true, VectorOld, false},
		{"one before it", 0, Mark{5, "lb2", 2}, true, VectorOld, false},
		{"one of a leader before", 0, Mark{4, "lb9", 99}, true, VectorOld, false},
		{"two of one epoch: the later name", 0, Mark{5, "lb3", 1}, true, VectorTaken, false},
		{"a follower takes it even of one it does not hear", 0, Mark{6, "lb3", 1}, false, VectorTaken, false},
		{"a leader yields", 9, Mark{10, "lb2", 1}, true, VectorYield, false},
		{"a leader tells one below", 9, Mark{8, "lb2", 50}, true, VectorStale, true},
		{"a leader outbids one that is gone", 9, Mark{10, "lb2", 1}, false, VectorOutbid, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := NewBallot("lb1")
			if test.leads > 0 {
				b.Lead(test.leads, moment(0))
				b.Next(moment(0))
			} else {
				b.Hear(Mark{5, "lb2", 3}, true, moment(0))
			}
			if got := b.Hear(test.heard, test.there, moment(10)); got != test.want {
				t.Errorf("verdict %d, want %d", got, test.want)
			}
			if b.Leads() != test.still {
				t.Errorf("leads: %v, want %v", b.Leads(), test.still)
			}
		})
	}
}

// TestBallotHold: who yielded does not fight while the other is there.
func TestBallotHold(t *testing.T) {
	b := NewBallot("lb1")
	b.Lead(9, moment(0))
	b.Hear(Mark{10, "lb2", 1}, true, moment(1))
	for _, test := range []struct {
		at    float64
		there bool
		want  bool
	}{{1, true, false}, {2.9, true, false}, {2.9, false, true}, {3, true, true}} {
		if got := b.Judge(0, test.there, moment(test.at)); got != test.want {
			t.Errorf("at %v s, lb2 there %v: leads %v, want %v", test.at, test.there, got, test.want)
		}
	}
}

// TestBallotAnswersSeldom: a flood of old vectors is not answered by a flood.
func TestBallotAnswersSeldom(t *testing.T) {
	b := NewBallot("lb1")
	b.Lead(9, moment(0))
	stale, outbid := 0, 0
	for i := range 1000 {
		now := moment(float64(i) / 1000)
		if b.Hear(Mark{8, "lb2", uint64(i)}, true, now) == VectorStale {
			stale++
		}
	}
	for i := range 1000 {
		now := moment(2 + float64(i)/1000)
		if b.Hear(Mark{10, "lb2", uint64(i)}, false, now) == VectorOutbid {
			outbid++
		}
	}
	if stale != 4 || outbid != 1 {
		t.Errorf("%d answers and %d higher epochs in a second, want 4 and 1", stale, outbid)
	}
}
