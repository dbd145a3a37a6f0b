// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/steelyard-lb/steelyard/core"
)

// A Target is one probe of one backend.
type Target struct {
	ID   core.BackendID
	Addr netip.AddrPort  // the backend's; Spec.Port replaces its port unless 0
	Spec *core.ProbeSpec // shared by many targets, so never changed
}

// addr is where the probe goes.
func (t Target) addr() netip.AddrPort {
	if t.Spec.Port != 0 {
		return netip.AddrPortFrom(t.Addr.Addr(), t.Spec.Port)
	}
	return t.Addr
}

// A prober asks one target, run by run. Runs do not overlap, so it may keep
// state between them; it holds nothing open.
type prober interface {
	probe(ctx context.Context) result
}

// A result is what one run learned; the runner makes a Sample of it.
type result struct {
	ok      bool
	code    core.Code
	detail  string
	metrics []core.Metric
	admin   core.AdminState // what an agent asks for; empty if it asks for nothing
}

// bad is the result of a run that failed. It has no metrics on purpose.
func bad(code core.Code, format string, args ...any) result {
	return result{code: code, detail: fmt.Sprintf(format, args...)}
}

func seconds(name string, d time.Duration) core.Metric {
	return core.Metric{Name: name, Value: d.Seconds(), Unit: "seconds"}
}

// newProber makes the prober of a target. An impossible spec gives a prober
// whose runs all say why, so that the operator reads it where he looks.
func newProber(t Target) prober {
	switch t.Spec.Type {
	case core.ProbeTCP:
		return newTCP(t)
	case core.ProbeHTTP:
		return newHTTP(t)
	case core.ProbePing:
		return newPing(t)
	case core.ProbeSNMPCPU:
		return newSNMPCPU(t)
	case core.ProbeSNMP:
		return newSNMP(t)
	case core.ProbeDNS:
		return newDNS(t)
	case core.ProbeGRPC:
		return newGRPC(t)
	case core.ProbeUDP:
		return newUDP(t)
	case core.ProbeAgent:
		return newAgent(t)
	case core.ProbeExec:
		return newExec(t)
	case core.ProbePrometheus:
		return newPrometheus(t)
	case core.ProbeResponseTime:
		return newResponseTime(t)
	}
	return impossible(fmt.Sprintf("probe type %q is not known to this version", t.Spec.Type))
}

// impossible is the prober of a spec that cannot be run; its text says why.
type impossible string

func (p impossible) probe(context.Context) result { return bad(core.Internal, "%s", string(p)) }

// maxDetail is the limit of core.Sample.Detail in bytes.
const maxDetail = 256

// oneLine makes s fit for Sample.Detail: one line of printable text, cut at a
// character's edge. Texts from the other side end up here, so what a terminal obeys
// must not reach one: control characters, C1's among them, and marks of direction.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	if len(s) <= maxDetail {
		return s
	}
	cut := maxDetail - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// short prints a duration for people: three digits are enough.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}
