// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// execProbe runs a command of this machine and believes its exit code: plugins of
// Nagios, check scripts of keepalived, anything that ends with 0. Emits weight (of
// keepalived's dynamic weight) and what performance data says.
//
// No shell is between. The command runs as a user of its own without any
// capability and is dead when the run is over, with all that it has started:
// see execRun.
type execProbe struct {
	target  Target
	user    identity
	pickers []picker // one per configured metric
	// counters are pickers of counters that no metric is configured for, by
	// label; nil until there is one.
	counters map[string]*picker
	wait     time.Duration // for the second answer of a rate; see patient
	// before is of a run whose command could not even be killed; nil as a rule.
	before *execRun
}

func newExec(t Target) prober {
	spec := &t.Spec.Exec
	if len(spec.Command) == 0 || spec.Command[0] == "" {
		return impossible("exec: command is empty")
	}
	if !filepath.IsAbs(spec.Command[0]) {
		return impossible("exec: program " + clip(spec.Command[0]) + ": give its whole path, for no PATH is searched")
	}
	for _, s := range spec.Command {
		if strings.ContainsRune(s, 0) {
			return impossible("exec: no argument may hold a zero byte")
		}
	}
	for name, value := range spec.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value.Reveal(), 0) {
			return impossible(fmt.Sprintf("exec: variable %q cannot be set", name))
		}
	}
	if w := t.Spec.Way; w.Source.IsValid() || w.Device != "" || w.Mark != 0 {
		return impossible("exec: source, device and mark do not reach the sockets of a command: give it an option of its own, or use netns")
	}
	user, err := lookUpUser(spec.User)
	if err != nil {
		return impossible("exec: " + err.Error())
	}
	return &execProbe{target: t, user: user, pickers: newPickers(t.Spec.Metrics)}
}

// enough implements patient.
func (p *execProbe) enough(result) time.Duration { return p.wait }

func (p *execProbe) probe(ctx context.Context) result {
	p.wait = 0
	if p.before != nil {
		if !p.before.over() {
			return bad(core.Internal, "%s of an earlier run could not be killed yet: it hangs in the kernel, most often on a disk or a network file system", p.program())
		}
		p.before = nil
	}
	c := execCommand{args: p.arguments(), env: p.environment(), user: p.user, way: way(p.target.Spec.Way), timeout: p.timeout()}
	p.tell(ctx, c)
	r := startExec(ctx, c)
	e := r.finish(ctx)
	defer e.release()
	if e.stuck {
		p.before = r
	}
	if e.err != nil {
		return bad(core.Internal, "start %s: %v", p.program(), explainStart(e.err, p.user))
	}
	note(ctx, "confined", "%s", e.how)
	note(ctx, "end", "%s after %s", e.outcome(), short(e.took))
	return p.judge(ctx, e)
}

func (p *execProbe) program() string { return p.target.Spec.Exec.Command[0] }

func (p *execProbe) timeout() time.Duration { return cmp.Or(p.target.Spec.Timeout, defaultTimeout) }

// arguments are the configured ones with the placeholders filled in.
func (p *execProbe) arguments() []string {
	addr := p.target.addr()
	fill := strings.NewReplacer(
		"{address}", addr.Addr().String(), "{port}", strconv.Itoa(int(addr.Port())),
		"{service}", p.target.ID.Service, "{backend}", p.target.ID.Backend)
	args := slices.Clone(p.target.Spec.Exec.Command)
	for i := range args[1:] {
		args[i+1] = fill.Replace(args[i+1])
	}
	return args
}

// pathOfCommands is for scripts: no shell's start-up file sets another.
const pathOfCommands = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is all that the command sees of ours: nothing. LC_ALL=C makes
// numbers and messages the same everywhere.
func (p *execProbe) environment() []string {
	vars := map[string]string{"PATH": pathOfCommands, "LC_ALL": "C"}
	for name, value := range p.target.Spec.Exec.Env {
		vars[name] = value.Reveal()
	}
	env := make([]string, 0, len(vars))
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		env = append(env, name+"="+vars[name])
	}
	return env
}

// tell notes what is about to run. Values of variables may be secrets.
func (p *execProbe) tell(ctx context.Context, c execCommand) {
	quoted := make([]string, len(c.args))
	for i, a := range c.args {
		quoted[i] = a
		if a == "" || strings.ContainsAny(a, " \t\"'\\$*?;&|<>(){}[]") {
			quoted[i] = strconv.Quote(a)
		}
	}
	where := ""
	if ns := p.target.Spec.Way.Netns; ns != "" {
		where = ", in network namespace " + ns
	}
	note(ctx, "command", "%s%s", strings.Join(quoted, " "), where)
	names := make([]string, len(c.env))
	for i, e := range c.env {
		names[i], _, _ = strings.Cut(e, "=")
	}
	note(ctx, "runs as", "%s; environment: %s", p.user, strings.Join(names, " "))
}

// judge makes the result of a command that ran.
func (p *execProbe) judge(ctx context.Context, e *execEnd) result {
	text := firstLine(string(e.out.text()))
	if before, _, ok := strings.Cut(text, "|"); ok && p.convention() == core.Nagios {
		text = strings.TrimSpace(before)
	}
	said := cmp.Or(text, firstLine(string(e.errors.text())), "it said nothing")
	note(ctx, "output", "%d bytes: %s", e.out.size, said)
	switch {
	case e.timedOut:
		return bad(core.ProcTime, "%s did not end within %s and was killed with all that it had started", p.program(), p.timeout())
	case e.flooded:
		return bad(core.Internal, "%s wrote more than %d KiB and was killed: it should print a few lines", p.program(), maxFlood>>10)
	case e.status.Signaled():
		return bad(core.Internal, "%s was ended by signal %s, which says nothing about the backend: %s", p.program(), unix.SignalName(e.status.Signal()), said)
	}
	return p.verdict(ctx, e, said)
}

func (p *execProbe) convention() core.Convention {
	return cmp.Or(p.target.Spec.Exec.Convention, core.Nagios)
}

// verdict is what the exit code means by the convention.
func (p *execProbe) verdict(ctx context.Context, e *execEnd, said string) result {
	code, spec := e.status.ExitStatus(), &p.target.Spec.Exec
	r := result{ok: true, code: core.ProcOK, detail: said}
	switch convention := p.convention(); {
	case convention == core.Nagios && code == 1 && spec.WarningIsBad:
		return result{code: core.ProcWarn, detail: said}
	case convention == core.Nagios && code <= 1:
		if code == 1 {
			r.code = core.ProcWarn
		}
		r.metrics = p.measure(ctx, e)
		return r
	case convention == core.Nagios && code != 2:
		// UNKNOWN: the plugin could not find out. What lies above is not Nagios's at all:
		// 126 and 127 are of a shell that did not find its program.
		if also := firstLine(string(e.errors.text())); also != "" && also != said { // such as an option that it does not know
			said += " (" + also + ")"
		}
		return bad(core.Internal, "%s could not find out (exit code %d): %s", p.program(), code, said)
	case convention == core.Keepalived && code >= 2 && spec.DynamicWeight:
		r.metrics = []core.Metric{{Name: core.MetricWeight, Value: float64(code - 2), Unit: "count"}}
		r.detail = fmt.Sprintf("weight %d: %s", code-2, said)
		return r
	case code == 0:
		return r
	}
	return bad(core.ProcFailed, "exit code %d: %s", code, said)
}

// measure makes metrics of performance data.
func (p *execProbe) measure(ctx context.Context, e *execEnd) []core.Metric {
	items := parsePerf(perfPart(string(e.out.text()), e.out.cut()))
	for _, it := range items {
		note(ctx, "perfdata", "%s", it)
	}
	var s selection
	if len(p.pickers) == 0 {
		p.pickAll(ctx, &s, items, e.at)
	}
	for i := range p.pickers {
		pick, found := &p.pickers[i], []reading(nil)
		for _, it := range items {
			if it.label == pick.spec.From {
				found = append(found, reading{value: it.value, unit: it.unit})
			}
		}
		s.add(ctx, pick, found, 0, e.at)
	}
	p.wait = s.again(p.target.Spec.Interval)
	return s.metrics
}

// pickAll makes a metric of every label, the first ones of many, where none is configured.
func (p *execProbe) pickAll(ctx context.Context, s *selection, items []perfItem, at time.Time) {
	seen := make(map[string]bool)
	for _, it := range items {
		name := metricName(it.label)
		if seen[name] || len(seen) == maxPerfMetrics {
			note(ctx, "perfdata", "%s is left out: metric %s is there already, or %d others are", it.label, name, maxPerfMetrics)
			continue
		}
		seen[name] = true
		pick := &picker{spec: &core.MetricSpec{Name: name, From: it.label}}
		if it.counter {
			pick = p.counter(name, it.label)
		}
		s.add(ctx, pick, []reading{{value: it.value, unit: it.unit}}, 0, at)
	}
}

// counter is the picker of a counter that no metric is configured for.
func (p *execProbe) counter(name, label string) *picker {
	if len(p.counters) >= maxPerfMetrics {
		clear(p.counters) // a plugin with ever new labels
	}
	pick, ok := p.counters[name]
	if !ok {
		if p.counters == nil {
			p.counters = make(map[string]*picker)
		}
		pick = &picker{spec: &core.MetricSpec{Name: name, From: label, Kind: core.CounterKind}}
		p.counters[name] = pick
	}
	return pick
}
