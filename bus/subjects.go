// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// Prefix begins every subject. A change that breaks readers makes it v2.
const Prefix = "steelyard.v1"

// A Class is the first token after the prefix: what kind of message it is.
type Class string

// The classes.
const (
	ProbeClass    Class = "probe"
	MetricClass   Class = "metric"
	HealthClass   Class = "health"
	DecisionClass Class = "decision"
	CommitClass   Class = "commit"
	EventClass    Class = "event"
)

// classes is the table of every subject: the tokens that follow the class.
// The names are in the body too; the subject is only routing.
var classes = []struct {
	class  Class
	tokens []string
}{
	{ProbeClass, []string{"service", "backend", "probe", "node"}},
	// The source comes first, so that one permission pins it.
	{MetricClass, []string{"source", "service", "backend", "probe"}},
	{HealthClass, []string{"service", "backend"}},
	{DecisionClass, []string{"service"}},
	{CommitClass, []string{"node"}},
	{EventClass, []string{"severity", "topic"}},
}

// ProbeSubject is where a node publishes the samples of one of its probes.
func ProbeSubject(id core.BackendID, probe, node string) string {
	return subject(ProbeClass, id.Service, id.Backend, probe, node)
}

// MetricSubject is where a monitor publishes what it knows about a backend.
func MetricSubject(source string, id core.BackendID, probe string) string {
	return subject(MetricClass, source, id.Service, id.Backend, probe)
}

// HealthSubject is where changes of a backend's health are published.
func HealthSubject(id core.BackendID) string {
	return subject(HealthClass, id.Service, id.Backend)
}

// DecisionSubject is where the decisions of a service are published.
func DecisionSubject(service string) string { return subject(DecisionClass, service) }

// CommitSubject is where a node publishes the transactions its kernel took.
func CommitSubject(node string) string { return subject(CommitClass, node) }

// EventSubject is where events that an operator should see are published.
func EventSubject(s core.Severity, topic string) string {
	return subject(EventClass, string(s), topic)
}

func subject(c Class, names ...string) string {
	var b strings.Builder
	b.WriteString(Prefix + "." + string(c))
	for _, n := range names {
		b.WriteByte('.')
		appendToken(&b, n)
	}
	return b.String()
}

// A Subject is a subject taken apart. Names are unescaped, in the order of the
// table of classes.
type Subject struct {
	Class Class
	Names []string
}

// ParseSubject reads a subject of one of the classes.
func ParseSubject(s string) (Subject, error) {
	rest, ok := strings.CutPrefix(s, Prefix+".")
	if !ok {
		return Subject{}, fmt.Errorf("subject %q: want it to begin with %s", s, Prefix)
	}
	tokens := strings.Split(rest, ".")
	for _, c := range classes {
		if string(c.class) != tokens[0] {
			continue
		}
		if len(tokens)-1 != len(c.tokens) {
			return Subject{}, fmt.Errorf("subject %q: want %s.%s.<%s>", s, Prefix, c.class, strings.Join(c.tokens, ">.<"))
		}
		names := make([]string, len(c.tokens))
		for i, t := range tokens[1:] {
			name, err := Unescape(t)
			if err != nil {
				return Subject{}, fmt.Errorf("subject %q: %s: %w", s, c.tokens[i], err)
			}
			names[i] = name
		}
		return Subject{c.class, names}, nil
	}
	return Subject{}, fmt.Errorf("subject %q: unknown class %q; want %s", s, tokens[0], classList())
}

// Pattern completes a pattern that a user wrote: "probe.web.>" becomes
// "steelyard.v1.probe.web.>", and nothing at all becomes everything. It refuses
// what could never match.
func Pattern(p string) (string, error) {
	if p == "" {
		p = ">"
	}
	rest := strings.TrimPrefix(p, Prefix+".")
	tokens := strings.Split(rest, ".")
	for i, t := range tokens {
		if err := checkPatternToken(t, i == len(tokens)-1); err != nil {
			return "", fmt.Errorf("pattern %q: %w", p, err)
		}
	}
	if t := tokens[0]; t != "*" && t != ">" && !isClass(t) {
		return "", fmt.Errorf("pattern %q: unknown class %q; want %s, or * or >", p, t, classList())
	}
	return Prefix + "." + rest, nil
}

func checkPatternToken(t string, last bool) error {
	switch {
	case t == "*", t == ">" && last:
		return nil
	case t == ">":
		return fmt.Errorf("> must be the last token")
	case t == "":
		return fmt.Errorf("empty token; write = for an empty name")
	}
	if _, err := Unescape(t); err != nil {
		return err
	}
	return nil
}

func isClass(t string) bool {
	for _, c := range classes {
		if string(c.class) == t {
			return true
		}
	}
	return false
}

func classList() string {
	names := make([]string, len(classes))
	for i, c := range classes {
		names[i] = string(c.class)
	}
	return strings.Join(names, ", ")
}
