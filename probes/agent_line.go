// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// agentUp is the one word on health that is good.
const agentUp = "up"

// maxAgentPercent is where HAProxy cuts a percentage.
const maxAgentPercent = 25600

// An agentLine is what one line of an agent says; what it leaves out is zero.
type agentLine struct {
	health string          // up, down, stopped or fail
	admin  core.AdminState // ready, drain or maint
	ratio  float64         // of the configured weight, if known.ratio
	limit  uint32          // connections, if known.limit; 0 lifts the limit
	known  agentKnown
	reason string // after the #
	odd    string // the first word that is none
}

// parseAgentLine reads a line as HAProxy 2.6 does (configuration manual §5.2,
// agent-check; tcpcheck_agent_expect_reply): words of any case with spaces, tabs or
// commas between them, in any order, of each kind the last one counts; a word that
// begins with # begins the description, which is the rest of the line. A # within a
// word begins nothing: "down#full" is one unknown word, there and here.
func parseAgentLine(line []byte) agentLine {
	var l agentLine
	for {
		line = bytes.TrimLeft(line, " \t,")
		if len(line) == 0 {
			return l
		}
		if line[0] == '#' {
			l.reason = strings.Trim(oneLine(string(line[1:])), " \t")
			return l
		}
		end := bytes.IndexAny(line, " \t,")
		if end < 0 {
			end = len(line)
		}
		if !l.take(strings.ToLower(string(line[:end]))) && l.odd == "" {
			l.odd = oneLine(string(line[:end]))
		}
		line = line[end:]
	}
}

// take notes a word; false if it is none.
func (l *agentLine) take(word string) bool {
	switch word {
	case agentUp, "down", "stopped", "fail":
		l.health = word
		return true
	case string(core.AdminReady), string(core.AdminDrain), string(core.AdminMaint):
		l.admin = core.AdminState(word)
		return true
	}
	if digits, ok := strings.CutPrefix(word, "maxconn:"); ok {
		limit, err := strconv.ParseUint(digits, 10, 32)
		l.limit, l.known.limit = uint32(limit), err == nil
		return err == nil
	}
	if word[0] >= '0' && word[0] <= '9' && strings.Contains(word, "%") {
		return l.takeWeight(word)
	}
	return false
}

// takeWeight notes a percentage. One that is broken voids the one before it, as it
// does in HAProxy.
func (l *agentLine) takeWeight(word string) bool {
	digits, _ := strings.CutSuffix(word, "%")
	percent, err := strconv.ParseUint(digits, 10, 32)
	if errors.Is(err, strconv.ErrRange) || percent > maxAgentPercent {
		percent, err = maxAgentPercent, nil
	}
	l.ratio, l.known.ratio = float64(percent)/100, err == nil
	return err == nil
}

// says reports whether the line says anything at all.
func (l agentLine) says() bool {
	return l.health != "" || l.admin != "" || l.known.ratio || l.known.limit
}

// text says for people what the line means.
func (l agentLine) text() string {
	var parts []string
	if l.health != "" {
		parts = append(parts, l.health)
	}
	if l.admin != "" {
		parts = append(parts, string(l.admin))
	}
	if l.known.ratio {
		parts = append(parts, fmt.Sprintf("weight %.0f%% of the configured", 100*l.ratio))
	}
	if l.known.limit {
		limit := fmt.Sprintf("%d connections at most", l.limit)
		if l.limit == 0 {
			limit = "no limit on connections"
		}
		parts = append(parts, limit)
	}
	text := strings.Join(parts, ", ")
	if l.reason != "" {
		text += ": " + l.reason
	}
	if l.odd != "" {
		text = fmt.Sprintf("%s (and %q, which is no word of an agent%s)", text, clip(l.odd), l.hint())
	}
	return text
}

// hint is about the mistake that looks right.
func (l agentLine) hint() string {
	for _, word := range []string{"down#", "stopped#", "fail#"} {
		if len(l.odd) >= len(word) && strings.EqualFold(l.odd[:len(word)], word) {
			return ": put a space before the #"
		}
	}
	return ""
}
