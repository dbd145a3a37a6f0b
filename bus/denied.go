// SPDX-License-Identifier: Apache-2.0

package bus

import (
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

// denials are what the server has refused this node of late: of each class of subjects the
// latest, so that they are few however many subjects there are.
type denials struct {
	mu   sync.Mutex
	list map[deniedKey]denial // guarded by mu
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
	verb := "publish"
	if !strings.EqualFold(m[1], verb) {
		verb = "subscribe"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.list == nil {
		d.list = map[deniedKey]denial{}
	}
	d.list[deniedKey{connection, verb, classOf(m[2])}] = denial{verb + " " + cut(m[2], MaxNameBytes), now, verb == "publish"}
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
