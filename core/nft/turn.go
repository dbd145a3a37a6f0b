// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// The reasons to turn a packet away. Each is the kind of a chain, which logs,
// counts and answers, and of the counter; of the limit or the clients' set, too.
const (
	turnDenied     = "denied"
	turnRate       = "rate"
	turnClientRate = "clientrate"
	turnOpen       = "open"
	turnClientOpen = "clientopen"
	turnResets     = "resets"
	turnInvalid    = "invalid"
)

// turnedField is where a reason is counted; nil for what is none.
func turnedField(t *core.Turned, kind string) *uint64 {
	switch kind {
	case turnDenied:
		return &t.Denied
	case turnRate:
		return &t.Rate
	case turnClientRate:
		return &t.ClientRate
	case turnOpen:
		return &t.Open
	case turnClientOpen:
		return &t.ClientOpen
	case turnResets:
		return &t.Resets
	case turnInvalid:
		return &t.Invalid
	}
	return nil
}

// maxLogPrefix is what the kernel keeps of a line's prefix, NF_LOG_PREFIXLEN with
// the zero byte, but for the longest reason. A prefix with a service's name stays
// below it.
const maxLogPrefix = 127 - len(" "+turnClientRate+": ")

// kindLog is the limit on a service's lines in the log.
const kindLog = "log"

// turn leads to the chain of a reason, and makes it if it is not there.
func (c *compiler) turn(kind string) clause {
	name := nameOf(kind, c.s.Name)
	if c.f.chain(name) != nil {
		return goTo(name)
	}
	c.f.objects = append(c.f.objects, newCounter(name))
	c.log(kind)
	answer := core.Drop
	if kind == turnRate || kind == turnClientRate || kind == turnOpen || kind == turnClientOpen {
		answer = c.s.Limits.Answer
	}
	c.answer(name, name, answer)
	return goTo(name)
}

// log adds `limit name "log-web" log prefix "web denied: "`. All reasons of a
// service share the limit.
func (c *compiler) log(kind string) {
	l := c.s.Log
	if l.PerSecond == 0 {
		return
	}
	limit := nameOf(kindLog, c.s.Name)
	if c.f.object(limit, unix.NFT_OBJECT_LIMIT) == nil {
		c.f.objects = append(c.f.objects, newLimit(limit, core.Rate{PerSecond: l.PerSecond, Burst: l.PerSecond}, false))
	}
	c.inChain(nameOf(kind, c.s.Name), limited(limit), logged(logPrefix(c.s)+kind+": "))
}

// logPrefix is what a service's lines begin with, before the reason.
func logPrefix(s *core.ServicePlan) string {
	if s.Log.Prefix == "" {
		return "steelyard " + s.Name + " "
	}
	return strings.TrimRight(s.Log.Prefix, " ") + " "
}

// logLevelWarning is what the kernel logs at if nothing else was asked for. It is
// written out because the kernel tells it back.
const logLevelWarning = expr.LogLevelWarning

func logged(prefix string) clause {
	return clause{text: fmt.Sprintf("log prefix %q", prefix), exprs: []expr.Any{
		&expr.Log{Key: 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_LEVEL, Level: logLevelWarning, Data: []byte(prefix)},
	}}
}

// answer counts and ends it: `meta l4proto tcp counter name "refused-web" reject
// with tcp reset`.
func (c *compiler) answer(chain, counter string, how core.OnEmpty) {
	if how != core.Reject {
		c.inChain(chain, counted(counter), drop())
		return
	}
	rest := false
	for _, p := range c.protocols() {
		if p == core.TCP {
			c.inChain(chain, l4proto(p), counted(counter), resetTCP())
		} else {
			rest = true
		}
	}
	if rest {
		c.inChain(chain, counted(counter), reject())
	}
}

// inChain appends a rule to a chain of the service.
func (c *compiler) inChain(name string, list ...clause) {
	if c.f.chain(name) == nil {
		c.f.chains = append(c.f.chains, chain{name: name})
	}
	ch := c.f.chain(name)
	if c.f.netdev {
		ch.rules = append(ch.rules, newLinkRule(list...))
		return
	}
	ch.rules = append(ch.rules, newRule(list...))
}

// maxRate is the largest rate of a limit: the kernel reckons with whole
// nanoseconds for a packet.
const maxRate = 1_000_000

// checkTurn refuses what cannot be turned away, what the log cannot carry, and
// what nft could not read back.
func checkTurn(s *core.ServicePlan) error {
	l := &s.Limits
	for name, r := range map[string]core.Rate{
		"new connections": l.New, "new connections of a client": l.NewPerClient, "resets": l.ResetsPerClient,
		"log": {PerSecond: s.Log.PerSecond, Burst: s.Log.PerSecond},
	} {
		if r.PerSecond > 0 && r.Burst == 0 || r.PerSecond > maxRate {
			return fmt.Errorf("service %s: limit of %s: %d a second, %d at once: want 1 to %d, and at least 1 at once", s.Name, name, r.PerSecond, r.Burst, maxRate)
		}
	}
	if metersClients(l) && l.Clients == 0 {
		return fmt.Errorf("service %s: limits per client of at most 0 clients", s.Name)
	}
	return checkLogPrefix(s)
}

func checkLogPrefix(s *core.ServicePlan) error {
	if len(s.Log.Prefix) > maxLogPrefix {
		return fmt.Errorf("service %s: a log prefix of %d bytes: want at most %d", s.Name, len(s.Log.Prefix), maxLogPrefix)
	}
	for i := range len(s.Log.Prefix) {
		if b := s.Log.Prefix[i]; b < ' ' || b > '~' || strings.IndexByte(`"\$`, b) >= 0 {
			return fmt.Errorf("service %s: the log prefix has %q at byte %d: want printable ASCII without quote, backslash and dollar", s.Name, b, i)
		}
	}
	return nil
}
