// SPDX-License-Identifier: Apache-2.0

package core

import (
	"maps"
	"time"
)

const (
	seldomEvery   = time.Minute
	seldomSources = 256
	seldomForget  = 10 * time.Minute // a source not told of for so long makes room
)

// A Seldom decides when to tell of something that may happen thousands of times
// a second: at the first time for a source and a reason, and from then on once a
// minute per source. It remembers 256 sources; those beyond count as one. The
// reasons must be a few fixed words. The zero value is ready; it is not for
// concurrent use.
type Seldom struct{ sources map[string]*heard }

// heard is what was told of one source.
type heard struct {
	at      time.Time
	untold  uint64
	reasons map[string]bool
}

// Due counts one occurrence and reports whether to tell of it now, and how many
// of its source were passed over since the last that was told.
func (s *Seldom) Due(source, reason string, now time.Time) (untold uint64, due bool) {
	h := s.of(source, now)
	if h.reasons[reason] && now.Sub(h.at) < seldomEvery {
		h.untold++
		return 0, false
	}
	h.reasons[reason], h.at = true, now
	untold, h.untold = h.untold, 0
	return untold, true
}

func (s *Seldom) of(source string, now time.Time) *heard {
	if h := s.sources[source]; h != nil {
		return h
	}
	if len(s.sources) >= seldomSources {
		maps.DeleteFunc(s.sources, func(_ string, h *heard) bool { return now.Sub(h.at) > seldomForget })
	}
	if len(s.sources) >= seldomSources {
		source = "" // no source has that name
	}
	h := s.sources[source]
	if h == nil {
		h = &heard{reasons: map[string]bool{}}
		if s.sources == nil {
			s.sources = map[string]*heard{}
		}
		s.sources[source] = h
	}
	return h
}
