// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"log/slog"
	"time"

	"github.com/steelyard-lb/steelyard/plugins/worker"
)

// levels are the levels of a policy's own log lines. What a policy calls an
// error is no error of the daemon.
var levels = [...]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelWarn}

// What a policy may log: so many lines in so long, and no more.
const (
	relayLines = 20
	relayEvery = 10 * time.Second
)

// relayed counts a policy's log lines.
type relayed struct {
	since time.Time
	lines int
}

// allow reports whether one more line may be logged, and whether it is the last
// of its time.
func (r *relayed) allow(now time.Time) (ok, last bool) {
	if now.Sub(r.since) > relayEvery {
		*r = relayed{since: now}
	}
	r.lines++
	return r.lines <= relayLines, r.lines == relayLines
}

// relay writes a policy's lines into the daemon's log. The error line of a call
// that failed is left out: it is the fault, which the result tells.
func (h *Host) relay(j *job, res worker.Result) {
	for _, l := range res.Logs {
		level := min(int(l.Level), len(levels)-1)
		if res.Err != "" && level == len(levels)-1 {
			continue
		}
		j.policy.mu.Lock()
		ok, last := j.policy.relayed.allow(time.Now())
		j.policy.mu.Unlock()
		if !ok {
			return
		}
		h.log.Log(context.Background(), levels[level], "policy says",
			"policy", j.version.label, "service", j.call.Snapshot.Service, "text", l.Text)
		if last {
			h.log.Warn("policy logs too much; the rest is dropped for a while", "policy", j.version.label)
		}
	}
}
