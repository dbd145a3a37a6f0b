// SPDX-License-Identifier: Apache-2.0

package engine

import "github.com/steelyard-lb/steelyard/core"

// A source is who takes samples, with which probe. All that came from it share one.
type source struct{ node, probe string }

// maxSources bounds how many are known: monitors may call themselves what they like.
const maxSources = 1 << 12

// sourceOf is the source of a sample, perhaps that of one before.
func (e *Engine) sourceOf(before *source, s core.Sample) *source {
	if before != nil && before.probe == s.Probe && before.node == s.Node {
		return before
	}
	key := source{s.Node, s.Probe}
	if known := e.sources[key]; known != nil {
		return known
	}
	if e.sources == nil || len(e.sources) >= maxSources {
		e.sources = map[source]*source{} // what points to the others keeps them
	}
	e.sources[key] = &key
	return &key
}

// An origin names the sample that something is of; the zero one is of none.
type origin struct {
	source *source
	seq    uint64
}

// is reports whether it is the sample of o.
func (x origin) is(o origin) bool {
	return x.source != nil && o.source != nil && *x.source == *o.source && x.seq == o.seq
}

// input writes the origin into the record of a reading.
func (x origin) input(in core.Input) core.Input {
	if x.source != nil {
		in.Probe, in.Node, in.Seq = x.source.probe, x.source.node, x.seq
	}
	return in
}

// origins are those of a backend's readings.
type origins struct{ cpu, nextCPU, cores, response origin }

// origins are b.by, which few need to have where nobody feeds a policy.
func (b *backend) origins() *origins {
	if b.by == nil {
		b.by = &origins{}
	}
	return b.by
}

// clone is a copy, since the backend before goes on until the reload is in force.
func (o *origins) clone() *origins {
	if o == nil {
		return nil
	}
	c := *o
	return &c
}

// A sampled reading is one that came with a sample.
type sampled struct {
	reading
	origin
}

// refOf names a sample of a backend that is configured.
func refOf(b *backend, s core.Sample) core.SampleRef {
	return core.SampleRef{Backend: b.spec.Name, Probe: s.Probe, Node: s.Node, Seq: s.Seq, At: s.TakenAt}
}

// blames adds a sample to those that make the next decision due, as far as there is
// room.
func (c *cause) blames(ref core.SampleRef) {
	if ref.Probe != "" && len(c.samples) < core.MaxCauses {
		c.samples = append(c.samples, ref)
	}
}
