// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// recordingsLook is how often a follower is given what is new.
const recordingsLook = 200 * time.Millisecond

// recordings writes the calls of policies that the node has kept. Nothing is queued
// for a follower: the node keeps the latest, and whoever is too slow for that
// misses some.
func (s *Server) recordings(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	service, follow := r.URL.Query().Get("service"), false
	if text := r.URL.Query().Get("follow"); text != "" {
		var err error
		if follow, err = strconv.ParseBool(text); err != nil {
			writeError(w, badRequest("follow: %q, want true or false", text))
			return
		}
	}
	if service != "" {
		if _, e := s.find(r.Context(), service); e != nil {
			writeError(w, e)
			return
		}
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
	s.streamRecordings(ctx, w, service, follow)
}

// streamRecordings writes until there are no more, or with follow until ctx is done
// or the reader takes none for writeTimeout.
func (s *Server) streamRecordings(ctx context.Context, w http.ResponseWriter, service string, follow bool) {
	c, enc := http.NewResponseController(w), json.NewEncoder(w)
	tick := time.NewTicker(recordingsLook)
	defer tick.Stop()
	var cursor uint64
	for {
		var list []core.Recorded
		list, cursor = s.Node.Recordings(service, cursor)
		for i := range list {
			_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
			if ctx.Err() != nil || enc.Encode(&list[i]) != nil {
				return
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

// Recordings calls fn for the latest calls of the policies of a service, of all
// services if it is empty, oldest first; with follow it goes on with new ones. It
// returns nil at the end or if ctx is done, fn's error, or with follow
// ErrUnreachable when the node stops.
func (c *Client) Recordings(ctx context.Context, service string, follow bool, fn func(core.Recorded) error) error {
	q := url.Values{"service": {service}, "follow": {strconv.FormatBool(follow)}}
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
