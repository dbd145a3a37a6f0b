// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// recordingsLook is how often a follower is given what is new.
const recordingsLook = 100 * time.Millisecond

// maxFollowed bounds the services of a follower, each of which takes memory.
const maxFollowed = 64

// recordings writes the calls of policies that the node has kept. Nothing is queued
// for a follower: the node keeps the latest, and whoever is too slow for that
// misses some.
func (s *Server) recordings(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	services, follow := r.URL.Query()["service"], false
	if text := r.URL.Query().Get("follow"); text != "" {
		var err error
		if follow, err = strconv.ParseBool(text); err != nil {
			writeError(w, badRequest("follow: %q, want true or false", text))
			return
		}
	}
	slices.Sort(services)
	services = slices.DeleteFunc(slices.Compact(services), func(name string) bool { return name == "" })
	if len(services) > maxFollowed {
		writeError(w, badRequest("service: %d of them, at most %d", len(services), maxFollowed))
		return
	}
	for _, name := range services {
		if _, e := s.find(r.Context(), name); e != nil {
			writeError(w, e)
			return
		}
	}
	if len(services) == 0 {
		services = []string{""}
	}
	if !s.enter(w) {
		return
	}
	defer s.monitors.Add(-1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(r.Context(), stop)()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	if follow {
		for _, name := range services {
			defer s.Node.FollowRecordings(name)()
		}
	}
	s.streamRecordings(ctx, w, services, follow)
}

// streamRecordings writes until there are no more, or with follow until ctx is done
// or the reader takes none for writeTimeout.
func (s *Server) streamRecordings(ctx context.Context, w http.ResponseWriter, services []string, follow bool) {
	c, enc := http.NewResponseController(w), json.NewEncoder(w)
	tick := time.NewTicker(recordingsLook)
	defer tick.Stop()
	cursors := make([]uint64, len(services))
	for {
		for i, service := range services {
			var list []core.Recorded
			list, cursors[i] = s.Node.Recordings(service, cursors[i])
			for j := range list {
				_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
				if ctx.Err() != nil || enc.Encode(&list[j]) != nil {
					return
				}
			}
		}
		_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
		if !follow || c.Flush() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Recordings calls fn for the latest calls of the policies of services, of all if
// there are none, the oldest of a service first; with follow it goes on with new
// ones, of which it misses none of services that are named. It returns nil at the
// end or if ctx is done, fn's error, or with follow ErrUnreachable when the node
// stops.
func (c *Client) Recordings(ctx context.Context, services []string, follow bool, fn func(core.Recorded) error) error {
	q := url.Values{"service": services, "follow": {strconv.FormatBool(follow)}}
	resp, err := c.do(ctx, http.MethodGet, "/v1/recordings?"+q.Encode(), nil)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer resp.Body.Close()
	err = readLines("recordings", resp.Body, fn)
	if !follow && errors.Is(err, io.EOF) {
		return nil
	}
	return streamEnded(ctx, err)
}
