// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// deniedFor is how long a refusal to publish counts: what a node says again and again comes
// more often than that. One to subscribe counts until the connection is another.
const deniedFor = time.Minute

const publishVerb = "publish"

// denials are what the server has refused this node of late: of each class of subjects the
// latest, so that they are few however many subjects there are.
type denials struct {
	mu     sync.Mutex
	list   map[deniedKey]denial // guarded by mu
	latest map[string]error     // guarded by mu; of each connection, as nats.go keeps it, too
}

type deniedKey struct{ connection, verb, class string }

type denial struct {
	text string // "publish steelyard.v1.node.edge.lb1"
	at   time.Time
	ends bool // after deniedFor
}

// refusal finds in an error of nats.go what was refused.
var refusal = regexp.MustCompile(`(?i)\b(publish|subscription) to "([^"]+)"`)

// note files an error of a connection, if it says that something is not allowed.
func (d *denials) note(connection string, err error, now time.Time) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	m := refusal.FindStringSubmatch(err.Error())
	if m == nil {
		return
	}
	verb := publishVerb
	if !strings.EqualFold(m[1], verb) {
		verb = "subscribe"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.latest[connection] == err { // this one, and not one of its kind
		return
	}
	if d.list == nil {
		d.list, d.latest = map[deniedKey]denial{}, map[string]error{}
	}
	d.latest[connection] = err
	d.list[deniedKey{connection, verb, classOf(m[2])}] = denial{verb + " " + cut(m[2], MaxNameBytes), now, verb == publishVerb}
}

// metrics is what was refused of late of the metrics that this node handed on.
func (d *denials) metrics(connection string, now time.Time) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	one, refused := d.list[deniedKey{connection, publishVerb, string(MetricClass)}]
	if !refused || now.Sub(one.at) > deniedFor {
		return ""
	}
	return one.text
}

// classOf is the class of a subject; what is none of ours is one.
func classOf(subject string) string {
	rest, ours := strings.CutPrefix(subject, Prefix+".")
	if !ours {
		return ""
	}
	class, _, _ := strings.Cut(rest, ".")
	if !slices.ContainsFunc(classes, func(f form) bool { return string(f.class) == class }) {
		return ""
	}
	return class
}

// forget is for a connection that began anew: what is refused again is heard of at once.
func (d *denials) forget(connection string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.list, func(k deniedKey, _ denial) bool { return k.connection == connection })
}

// texts are those that count at a time, sorted.
func (d *denials) texts(now time.Time) (list []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.list {
		if !one.ends || now.Sub(one.at) <= deniedFor {
			list = append(list, one.text)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// metricsSettle is how long MetricsDenied waits for the server, which answers within the
// time of a way there and back.
const metricsSettle = 500 * time.Millisecond

// MetricsDenied tells what the external server has refused of the metrics that
// PublishMetric handed on before this call, such as "publish
// steelyard.v1.metric.zabbix.web1.cpu"; empty if nothing. A refusal counts for a minute.
// It waits for the server, for half a second at most: one that is too slow to say may be
// told of at the next call.
func (b *Bus) MetricsDenied(ctx context.Context) string {
	if b.dataOut == nil { // the embedded server refuses its own node nothing
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, metricsSettle)
	defer cancel()
	b.settle(ctx)
	return b.denials.metrics(dataConn, time.Now())
}

// settle waits until the server has read what waits for it, and files what it refused. Of
// that nats.go tells its handler on another goroutine, which may come later.
func (b *Bus) settle(ctx context.Context) {
	if !b.dataOut.online.Load() {
		return
	}
	reached := make(chan struct{})
	select {
	case b.dataOut.queue <- outgoing{mark: reached}:
	case <-ctx.Done():
		return
	}
	select {
	case <-reached:
	case <-ctx.Done():
		return
	}
	if b.data.FlushWithContext(ctx) == nil {
		b.denials.note(dataConn, b.data.LastError(), time.Now())
	}
}

// remedy is what to do about a refusal: the whole of what this node needs, that included.
func (b *Bus) remedy(refused error) string {
	roles := b.opts.Roles
	m := refusal.FindStringSubmatch(refused.Error())
	if m != nil && strings.EqualFold(m[1], publishVerb) && classOf(m[2]) == string(MetricClass) && !slices.Contains(roles, IngestRole) {
		roles = append(slices.Clone(roles), IngestRole)
	}
	return "give the user of this node what `" + PermissionsCommand(roles, b.opts.Node, b.opts.Group) + "` prints"
}
