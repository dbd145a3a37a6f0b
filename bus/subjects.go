// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"slices"
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
	NodeClass     Class = "node"
	WeightsClass  Class = "weights"
	FlowsClass    Class = "flows"
)

// A form is the shape of a subject.
type form struct {
	class  Class
	tokens []string
}

// pattern is the form as people write it: steelyard.v1.decision.<service>.
func (f form) pattern() string {
	return Prefix + "." + string(f.class) + ".<" + strings.Join(f.tokens, ">.<") + ">"
}

// classes is the table of every subject: the tokens that follow the class.
// The names are in the body too; the subject is only routing. A class that stands
// here twice has two forms, told apart by the number of tokens.
var classes = []form{
	{ProbeClass, []string{"service", "backend", "probe", "node"}},
	// The source comes first, so that one permission pins it.
	{MetricClass, []string{"source", "service", "backend", "name"}},
	{MetricClass, []string{"source", "target", "name"}},
	{HealthClass, []string{"service", "backend"}},
	{DecisionClass, []string{"service"}},
	{CommitClass, []string{"node"}},
	{EventClass, []string{"severity", "topic"}},
	// The group comes first, so that one permission pins it; the node last, as in probe.
	{NodeClass, []string{"group", "node"}},
	{WeightsClass, []string{"group", "service", "node"}},
	{FlowsClass, []string{"group", "service", "node"}},
}

// ProbeSubject is where a node publishes the samples of one of its probes.
func ProbeSubject(id core.BackendID, probe, node string) string {
	return subject(ProbeClass, id.Service, id.Backend, probe, node)
}

// MetricSubject is where a monitor publishes what it knows about a backend. Without a
// service, id.Backend is a target: a backend's name, service/backend, or an address.
func MetricSubject(source string, id core.BackendID, name string) string {
	if id.Service == "" {
		return subject(MetricClass, source, id.Backend, name)
	}
	return subject(MetricClass, source, id.Service, id.Backend, name)
}

// NodeSubject is where a node says that it is there.
func NodeSubject(group, node string) string { return subject(NodeClass, group, node) }

// WeightsSubject is where the leader of a service publishes its shares.
func WeightsSubject(group, service, node string) string {
	return subject(WeightsClass, group, service, node)
}

// FlowsSubject is where a balancer publishes how many connections it carries.
func FlowsSubject(group, service, node string) string {
	return subject(FlowsClass, group, service, node)
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
	const usual = 96 // bytes
	b := append(make([]byte, 0, usual), Prefix+"."...)
	b = append(b, c...)
	for _, n := range names {
		b = append(b, '.')
		b = appendEscaped(b, n)
	}
	return string(b)
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
	var forms []string
	for _, c := range classes {
		if string(c.class) != tokens[0] {
			continue
		}
		if len(tokens)-1 != len(c.tokens) {
			forms = append(forms, c.pattern())
			continue
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
	if forms != nil {
		return Subject{}, fmt.Errorf("subject %q: want %s", s, strings.Join(forms, " or "))
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
	var names []string
	for _, c := range classes {
		if name := string(c.class); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
