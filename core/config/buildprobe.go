// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

func (b *builder) probes() map[string]core.ProbeSpec {
	specs := map[string]core.ProbeSpec{}
	for name, r := range b.raw.Probes {
		if b.ps.full() {
			break
		}
		specs[name] = b.probe(join("probes", name), name, r)
	}
	return specs
}

func (b *builder) probe(path, name string, r rawProbe) core.ProbeSpec {
	s := core.ProbeSpec{
		Name: name, Type: r.Type, Role: core.Role(r.Role), Interval: r.Interval, Timeout: r.Timeout,
		FastInterval: other(r.FastInterval, r.Interval), DownInterval: other(r.DownInterval, r.Interval),
		Jitter: r.Jitter, Rise: r.Rise, Fall: r.Fall, Port: r.Port, Way: b.way(path, r),
	}
	b.timing(path, r)
	b.role(path, r)
	switch r.Type {
	case core.ProbeTCP:
		s.TCP = b.tcp(path, r)
	case core.ProbeHTTP:
		s.HTTP = b.http(path, r)
	case core.ProbePing:
		s.Ping = core.PingSpec{Count: r.Count, Size: r.Size}
	case core.ProbeDNS:
		s.DNS = b.dns(path, r)
	case core.ProbeGRPC:
		s.GRPC = b.grpc(path, r)
	case core.ProbeUDP:
		s.UDP = b.udp(path, r)
	case core.ProbeExec:
		b.checkPushedRun(name)
		s.Exec = b.exec(path, r)
	case core.ProbeAgent:
		b.lineEnds(join(path, "send"), r.Send)
		s.Agent = core.AgentSpec{Send: r.Send}
	case core.ProbeResponseTime:
		s.HTTP, s.Response = b.request(path, r), core.ResponseSpec{Samples: r.Samples}
		if r.Path == "" { // then it is the time of a TCP connection, and of a handshake over it
			s.TCP.TLS, s.HTTP.TLS = s.HTTP.TLS, core.TLSSpec{}
		}
	case core.ProbeSNMPCPU:
		s.SNMP, s.CPU = b.snmp(path, r), b.cpu(path, r)
	case core.ProbeSNMP:
		s.SNMP = b.snmp(path, r)
	case core.ProbePrometheus:
		s.Prometheus = b.prometheus(path, r)
	}
	s.Metrics = b.metrics(path, r)
	return s
}

// other is an interval that is not the usual one; else 0.
func other(d, usual time.Duration) time.Duration {
	if d == usual {
		return 0
	}
	return d
}

func (b *builder) timing(path string, r rawProbe) {
	interval, timeout := join(path, "interval"), join(path, "timeout")
	if b.spoilt[interval] || b.spoilt[timeout] || r.Interval == 0 {
		return
	}
	if r.Timeout >= r.Interval {
		b.wrong(b.set(path, "timeout", "interval"), "a run must be over before the next begins",
			"timeout%s %s is not shorter than interval%s %s", b.byDefault(timeout), short(r.Timeout), b.byDefault(interval), short(r.Interval))
	}
	for name, d := range map[string]time.Duration{"fast_interval": r.FastInterval, "down_interval": r.DownInterval} {
		if d > 0 && d <= r.Timeout {
			b.wrong(join(path, name), "a run must be over before the next begins", "%s %s is not longer than timeout%s %s", name, short(d), b.byDefault(timeout), short(r.Timeout))
		}
	}
	if r.FastInterval > r.Interval {
		b.wrong(join(path, "fast_interval"), "swap them, or leave fast_interval out", "fast_interval %s is longer than interval%s %s", short(r.FastInterval), b.byDefault(interval), short(r.Interval))
	}
	if r.Type == core.ProbeSNMPCPU && r.Window < r.Interval && !b.spoilt[join(path, "window")] {
		b.wrong(b.set(path, "window", "interval"), "the busy share is computed between two samples, so a window holds at least two",
			"window%s %s is shorter than interval%s %s",
			b.byDefault(join(path, "window")), short(r.Window), b.byDefault(interval), short(r.Interval))
	}
}

// byDefault says so of a value that nobody wrote down.
func (b *builder) byDefault(path string) string {
	if _, ok := b.places[path]; ok {
		return ""
	}
	return ", by default"
}

// onlyMeasures says why a type of probe cannot decide health.
var onlyMeasures = map[string]string{
	core.ProbeSNMPCPU:      "an snmp_cpu probe cannot decide health: an agent that is silent, or a CPU that is busy, says nothing about the service itself",
	core.ProbeSNMP:         "an snmp probe cannot decide health: an agent that is silent says nothing about the service itself",
	core.ProbePrometheus:   "a prometheus probe cannot decide health: an exporter that is silent says nothing about the service itself",
	core.ProbeResponseTime: "a response_time probe cannot decide health: it measures",
}

// role keeps the probes that only measure from marking a backend down.
func (b *builder) role(path string, r rawProbe) {
	why := onlyMeasures[r.Type]
	if r.Role == string(core.HealthRole) && why != "" {
		b.wrong(join(path, "role"), "leave role out, and add a probe of type tcp or http for health", "%s", why)
	}
}

// way is how the probe leaves this machine.
func (b *builder) way(path string, r rawProbe) core.Way {
	w := core.Way{Device: r.Device, Mark: r.Mark, Netns: r.Netns}
	if at := join(path, "device"); r.Device != "" && (!interfacePattern.MatchString(r.Device) || r.Device == "." || r.Device == "..") {
		b.wrong(at, "an interface name has 1 to 15 characters, without spaces, /, : and *", "%q is no interface", r.Device)
	}
	if at := join(path, "netns"); strings.ContainsFunc(r.Netns, controlOrSpace) || r.Netns != "" && !strings.HasPrefix(r.Netns, "/") && strings.Contains(r.Netns, "/") {
		b.wrong(at, "a name as `ip netns` lists it, or a path from /", "%q is no network namespace", r.Netns)
	}
	if r.Source == "" {
		return w
	}
	a, why, hint := host(r.Source)
	if source := cmp.Or(foreignCPUSource[r.Source], r.Source); r.Type == core.ProbeSNMPCPU && slices.Contains(find(cpuKeys, "cpu_source").enum, source) {
		hint = "source is the address that the probe sends from; write cpu_source: " + source
	}
	if why != "" {
		b.wrong(join(path, "source"), hint, "%s", why)
		return w
	}
	w.Source = a
	return w
}

func controlOrSpace(r rune) bool { return r <= ' ' || r == 0x7f }
