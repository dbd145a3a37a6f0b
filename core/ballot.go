// SPDX-License-Identifier: Apache-2.0

package core

import (
	"cmp"
	"time"
)

const (
	// ballotHold is for how long a node that yielded does not lead again while the one
	// it yielded to is there: as long as it takes until all see the same nodes, so that
	// two that both think they are first do not outbid each other all the time.
	ballotHold = 2 * time.Second
	// orphanWait is for how long each node in the order waits, where nobody leads, for
	// those before it: the first choice may not have the service in its configuration.
	orphanWait = 3 * time.Second
	// reassertEvery and outbidEvery are the least times between two answers to a vector
	// that should not be there.
	reassertEvery = 250 * time.Millisecond
	outbidEvery   = time.Second
	// epochSlack is how far ahead of our clock an epoch may be.
	epochSlack = 24 * time.Hour
	// epochShift leaves room for a hash of the node below the milliseconds.
	epochShift = 8
)

// NextEpoch is the epoch for who begins to lead now: above all that were seen, and
// above all of nodes whose clocks are right and that we have not heard.
func NextEpoch(seen uint64, now time.Time, node string) uint64 {
	return max(seen+1, uint64(max(0, now.UnixMilli()))<<epochShift|KeyOf(node)&(1<<epochShift-1))
}

// EpochTooFar reports whether an epoch is so far ahead of our clock that to follow it
// would shut out for a day whoever is right.
func EpochTooFar(epoch uint64, now time.Time) bool {
	return epoch>>epochShift > uint64(max(0, now.Add(epochSlack).UnixMilli()))
}

// A Mark is the place of a vector in the order of all of its service.
type Mark struct {
	Epoch uint64
	Node  string
	Seq   uint64
}

// Mark is the place of v.
func (v *Vector) Mark() Mark { return Mark{v.Epoch, v.Node, v.Seq} }

// Compare orders by Epoch, Node and Seq.
func (m Mark) Compare(o Mark) int {
	return cmp.Or(cmp.Compare(m.Epoch, o.Epoch), cmp.Compare(m.Node, o.Node), cmp.Compare(m.Seq, o.Seq))
}

// A Verdict is what a Ballot makes of a vector that was heard.
type Verdict uint8

// The verdicts.
const (
	VectorOld   Verdict = iota // nothing new: drop it
	VectorStale                // another leads below us: drop it and send ours again
	VectorTaken                // follow it
	VectorYield                // follow it, and lead no more
	// VectorOutbid is of a node that is not there and yet above ours: drop it, and
	// lead again with a higher epoch, or those who heard it would not hear us.
	VectorOutbid
)

// A Ballot is who leads one service, as one node sees it. There is no vote: every node
// knows the order of those who may lead, the first of it begins to, and whoever leads
// goes on until a higher epoch is heard. So that a service has two leaders for a moment
// does no harm, since all follow the higher one, and it has none only while the first
// one has not noticed. It knows no clock; times are those of the local monotonic one.
type Ballot struct {
	node  string
	leads bool
	top   Mark      // the highest vector known; of its own lead the latest
	topAt time.Time // when it was heard or made

	orphan   time.Time // since when nobody is seen to lead; zero if somebody is, or it was not looked yet
	held     time.Time // until then we do not lead again while who we yielded to is there
	answered time.Time // when a vector that should not be there was last answered
}

// NewBallot returns that of a service, as seen by node, which does not lead.
func NewBallot(node string) Ballot { return Ballot{node: node} }

// Leads reports whether this node leads.
func (b *Ballot) Leads() bool { return b.leads }

// Top is the highest vector known, and when it was heard or made; zero if none was.
func (b *Ballot) Top() (Mark, time.Time) { return b.top, b.topAt }

// Judge reports whether this node must begin to lead. place is its own in the order of
// those who may, 0 the first; negative if it may not. there says that who made the
// highest vector known has been here ever since.
func (b *Ballot) Judge(place int, there bool, now time.Time) bool {
	if b.leads {
		return false
	}
	if there {
		b.orphan = time.Time{}
	} else if b.orphan.IsZero() {
		b.orphan = now
	}
	switch {
	case place < 0, there && now.Before(b.held):
		return false
	case place == 0:
		return true
	}
	return !there && now.Sub(b.orphan) >= time.Duration(place)*orphanWait
}

// Lead begins to lead, or goes on with a higher epoch.
func (b *Ballot) Lead(epoch uint64, now time.Time) {
	b.leads, b.orphan, b.held = true, time.Time{}, time.Time{}
	b.top, b.topAt = Mark{epoch, b.node, 0}, now
}

// Resign ends the lead of a node that may not lead any more.
func (b *Ballot) Resign() { b.leads = false }

// Next is the place of the next vector that this node makes. It must lead.
func (b *Ballot) Next(now time.Time) Mark {
	b.top.Seq++
	b.topAt = now
	return b.top
}

// Hear takes a vector of another node. there says that this node is here.
func (b *Ballot) Hear(m Mark, there bool, now time.Time) Verdict {
	higher := m.Compare(b.top) > 0
	if !b.leads {
		if m.Compare(b.top) < 0 {
			return VectorOld
		}
		// The same one again is a word of who leads, and no more.
		b.top, b.topAt, b.orphan = m, now, time.Time{}
		if higher {
			return VectorTaken
		}
		return VectorOld
	}
	switch {
	case !higher && b.due(reassertEvery, now):
		return VectorStale
	case !higher:
		return VectorOld
	case there:
		b.leads, b.held = false, now.Add(ballotHold)
		b.top, b.topAt = m, now
		return VectorYield
	case b.due(outbidEvery, now):
		return VectorOutbid
	}
	return VectorOld
}

// due reports whether an answer may be given now, and counts it.
func (b *Ballot) due(every time.Duration, now time.Time) bool {
	if !b.answered.IsZero() && now.Sub(b.answered) < every {
		return false
	}
	b.answered = now
	return true
}
