// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

func agentTarget(addr netip.AddrPort) Target {
	target := tcpTarget(addr)
	target.Spec.Type, target.Spec.Timeout = core.ProbeAgent, 10*time.Second
	return target
}

// A fakeAgent says its line to everybody who connects, and hangs up.
type fakeAgent struct {
	addr   netip.AddrPort
	line   atomic.Pointer[string]
	served atomic.Int64
}

func newFakeAgent(t *testing.T, line string) *fakeAgent {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	a := &fakeAgent{addr: netip.MustParseAddrPort(l.Addr().String())}
	a.line.Store(&line)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(*a.line.Load()))
			_ = c.Close()
			a.served.Add(1)
		}
	}()
	return a
}

func TestAgentAnswers(t *testing.T) {
	tests := []struct {
		line   string
		ok     bool
		code   core.Code
		detail string
		admin  core.AdminState
	}{
		{"up\n", true, core.AgentOK, "up", ""},
		{"UP\r", true, core.AgentOK, "up", ""},
		{"75%\n", true, core.AgentOK, "weight 75% of the configured", ""},
		{"maxconn:30\n", true, core.AgentOK, "30 connections at most", ""},
		{"maxconn:0\n", true, core.AgentOK, "no limit", ""},
		{"ready\n", true, core.AgentOK, "ready", core.AdminReady},
		{"up drain\n", true, core.AgentOK, "up, drain", core.AdminDrain},
		{"maint,0%\n", true, core.AgentOK, "maint, weight 0%", core.AdminMaint},
		{"ready\tup,100%  maxconn:5\n", true, core.AgentOK, "up, ready, weight 100% of the configured, 5 connections", core.AdminReady},
		{"down\n", false, core.AgentDown, "down", ""},
		{"stopped # gone fishing, back at 5\n", false, core.AgentDown, "stopped: gone fishing, back at 5", ""},
		{"maint fail #dis\x1bk\n", false, core.AgentDown, "fail, maint: dis k", core.AdminMaint},
		{"up lunch\n", true, core.AgentOK, `"lunch", which is no word of an agent`, ""},
		{"down#full\n", false, core.AgentNone, "put a space before the #", ""},
		{"garbage\n", false, core.AgentNone, `"garbage"`, ""},
		{"\n", false, core.AgentNone, "empty", ""},
		{" ,\t#reason\n", false, core.AgentNone, "empty", ""},
		{"", false, core.AgentNone, "without a word", ""},
		{"down", false, core.AgentNone, "does not end with a line feed", ""},
		{"down\x00\n", false, core.AgentNone, "NUL", ""},
		{strings.Repeat("x", maxAgentLine) + "\n", false, core.AgentNone, "longer than 4096", ""},
	}
	for _, tt := range tests {
		t.Run(clip(tt.line), func(t *testing.T) {
			s := ask(t, agentTarget(newFakeAgent(t, tt.line).addr))
			wantCode(t, s, tt.ok, tt.code, tt.detail)
			if s.Admin != tt.admin {
				t.Errorf("admin %q, want %q", s.Admin, tt.admin)
			}
		})
	}
}

func TestAgentNoWord(t *testing.T) {
	for name, tt := range map[string]struct {
		addr   netip.AddrPort
		detail string
	}{
		"refused": {probestest.Refused(t), "refused the connection"},
		"silent":  {probestest.Mute(t), "said nothing in time"},
		"full":    {probestest.Full(t), "no answer"},
		"resets":  {hangUp(t), "without a word"},
	} {
		t.Run(name, func(t *testing.T) {
			target := agentTarget(tt.addr)
			target.Spec.Agent.Send = "web1\n"
			target.Spec.Timeout = brief
			s := ask(t, target)
			wantCode(t, s, false, core.AgentNone, tt.detail)
			if s.Code.Verdict() || s.Admin != "" {
				t.Errorf("silence decides something: %+v", s)
			}
		})
	}
}

// TestAgentSend: an agent that waits for its question gets it, byte for byte.
func TestAgentSend(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // the test is over
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close() //nolint:errcheck // one line is all it says
		heard := make([]byte, 64)
		n, _ := c.Read(heard)
		_, _ = c.Write([]byte("down #" + strings.TrimRight(string(heard[:n]), "\n") + "\n"))
	}()
	target := agentTarget(netip.MustParseAddrPort(l.Addr().String()))
	target.Spec.Agent.Send = "web/web1\n"
	wantCode(t, ask(t, target), false, core.AgentDown, "down: web/web1")
}

// TestAgentIsRemembered: what a line does not say stays as it was.
func TestAgentIsRemembered(t *testing.T) {
	agent := newFakeAgent(t, "")
	target := agentTarget(agent.addr)
	p := newProber(target)
	say := func(line string) core.Sample {
		t.Helper()
		agent.line.Store(&line)
		return askWith(t, target, p)
	}
	wantMetrics(t, say("up\n"))
	wantMetrics(t, say("50%\n"), core.MetricWeightRatio)
	s := say("maxconn:8\n")
	wantMetrics(t, s, core.MetricWeightRatio, core.MetricMaxConnections)
	wantCode(t, say("stopped #backup\n"), false, core.AgentDown, "stopped: backup")
	wantCode(t, say("80%\n"), false, core.AgentDown, "said stopped (backup) before and has not said up since; now weight 80%")
	wantCode(t, say("drain\n"), false, core.AgentDown, "drain")
	wantCode(t, say("nonsense\n"), false, core.AgentNone, "nonsense")
	s = say("up\n")
	wantCode(t, s, true, core.AgentOK, "up")
	if m, _ := s.Metric(core.MetricWeightRatio); m.Value != 0.8 || m.Unit != "ratio" {
		t.Errorf("weight ratio %+v, want 0.8: said while it was down", m)
	}
	if m, _ := s.Metric(core.MetricMaxConnections); m.Value != 8 || m.Unit != "count" {
		t.Errorf("connections %+v, want 8", m)
	}
}

// TestAgentLineOrder: words of different kinds may come in any order, with any
// of the separators and in any case.
func TestAgentLineOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		percent := rapid.IntRange(0, 25600).Draw(t, "percent")
		limit := rapid.Uint32().Draw(t, "limit")
		want := agentLine{
			health: rapid.SampledFrom([]string{"up", "down", "stopped", "fail"}).Draw(t, "health"),
			admin:  rapid.SampledFrom([]core.AdminState{core.AdminReady, core.AdminDrain, core.AdminMaint}).Draw(t, "admin"),
			ratio:  float64(percent) / 100, limit: limit, known: agentKnown{ratio: true, limit: true},
			reason: "why, oh why",
		}
		words := rapid.Permutation([]string{
			want.health, string(want.admin), itoa(uint64(percent)) + "%", "maxconn:" + itoa(uint64(limit)),
		}).Draw(t, "words")
		var line strings.Builder
		for _, w := range words {
			if rapid.Bool().Draw(t, "upper") {
				w = strings.ToUpper(w)
			}
			line.WriteString(rapid.StringOfN(rapid.RuneFrom([]rune(" \t,")), 1, 3, -1).Draw(t, "between") + w)
		}
		line.WriteString(" # " + want.reason)
		if got := parseAgentLine([]byte(line.String())); got != want {
			t.Fatalf("%q:\n got %+v\nwant %+v", line.String(), got, want)
		}
	})
}

// TestAgentLineLastCounts is about words of one kind.
func TestAgentLineLastCounts(t *testing.T) {
	for line, want := range map[string]agentLine{
		"up down":                  {health: "down"},
		"drain maint ready":        {admin: core.AdminReady},
		"10% 20%":                  {ratio: 0.2, known: agentKnown{ratio: true}},
		"10% 20%x":                 {ratio: 0.2, odd: "20%x"}, // voids the one before
		"maxconn:3 maxconn:-4":     {odd: "maxconn:-4"},
		"99999999999999999999% up": {health: "up", ratio: 256, known: agentKnown{ratio: true}},
		"-5%":                      {odd: "-5%"},
		"50.5%":                    {odd: "50.5%"},
		"#down":                    {reason: "down"},
	} {
		got := parseAgentLine([]byte(line))
		if !got.known.ratio {
			got.ratio, want.ratio = 0, 0
		}
		if !got.known.limit {
			got.limit = 0
		}
		if got != want {
			t.Errorf("%q:\n got %+v\nwant %+v", line, got, want)
		}
	}
}

// TestAgentHangsMidLine ends at the deadline, with what came.
func TestAgentHangsMidLine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // the test is over
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write([]byte("dow"))
		_, _ = c.Read(make([]byte, 1)) // until the probe hangs up
		_ = c.Close()
	}()
	target := agentTarget(netip.MustParseAddrPort(l.Addr().String()))
	target.Spec.Timeout = brief
	wantCode(t, ask(t, target), false, core.AgentNone, "does not end")
}

func FuzzAgentLine(f *testing.F) {
	for _, seed := range []string{
		"up", "75%", "maxconn:30", "ready", "drain", "maint", "down # reason", "fail", "stopped#x",
		"up,ready\t100% maxconn:0", "0%0%", "%", "#", ",,,#", "1\xff%", "maxconn:99999999999",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		l := parseAgentLine(line)
		if l.known.ratio && (l.ratio < 0 || l.ratio > maxAgentPercent/100) {
			t.Errorf("%q: ratio %g", line, l.ratio)
		}
		for _, text := range []string{l.reason, l.odd} {
			if len(text) > maxDetail || oneLine(text) != text {
				t.Errorf("%q: unfit for people: %q", line, text)
			}
		}
		p := &agentProbe{}
		r := p.hear(t.Context(), l)
		if !r.code.Known() || r.ok != (r.code == core.AgentOK) || r.detail == "" {
			t.Errorf("%q: %+v", line, r)
		}
		if !r.ok && len(r.metrics) > 0 {
			t.Errorf("%q: a bad result with metrics", line)
		}
		// A line is heard the same when it is said twice.
		if again := p.hear(t.Context(), l); again.ok != r.ok || again.code != r.code || again.admin != r.admin {
			t.Errorf("%q: first %+v, then %+v", line, r, again)
		}
	})
}
