// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// A selector says which series of a page of metrics are meant, as in
// `node_cpu_seconds_total{mode="idle",cpu!="0"}`: a name and what its labels must
// be, as Prometheus writes it. A label that a series does not have is empty.
type selector struct {
	name     string
	matchers []matcher
}

// A matcher is a condition on one label.
type matcher struct {
	label string
	value string
	re    *regexp.Regexp // nil: value is compared; it matches whole values only
	not   bool
}

// maxMatchers is how many conditions a selector may have.
const maxMatchers = 32

// selectors are those in use: 16,000 backends of one service share them.
var selectors shared[string, selector]

// selectSeries is the selector behind a text. The error says where it is wrong and why.
func selectSeries(text string) (*selector, error) {
	return selectors.get(text, nil, func() (*selector, error) { return parseSelector(text) })
}

// CheckSeries says what is wrong with a selector of series, and where.
func CheckSeries(text string) error {
	_, err := selectSeries(text)
	return err
}

// holds reports whether a label's value is as wished for.
func (m *matcher) holds(value []byte) bool {
	if m.re != nil {
		return m.re.Match(value) != m.not
	}
	return (string(value) == m.value) != m.not
}

// A selectorError points at the place of a mistake.
type selectorError struct {
	text string
	at   int // byte
	want string
}

func (e *selectorError) Error() string {
	if e.at >= len(e.text) {
		return fmt.Sprintf("want %s at its end", e.want)
	}
	return fmt.Sprintf("want %s at character %d, before %s", e.want, len([]rune(e.text[:e.at]))+1, clip(e.text[e.at:]))
}

// A selectorParser reads a selector from left to right.
type selectorParser struct {
	text string
	at   int
}

func (p *selectorParser) wrong(want string, args ...any) error {
	return &selectorError{p.text, p.at, fmt.Sprintf(want, args...)}
}

func (p *selectorParser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// take passes over a text, if it is there.
func (p *selectorParser) take(s string) bool {
	if !strings.HasPrefix(p.text[p.at:], s) {
		return false
	}
	p.at += len(s)
	return true
}

// word takes a name; colons are for names of metrics only.
func (p *selectorParser) word(colon bool) string {
	from := p.at
	for p.at < len(p.text) && nameByte(p.text[p.at], p.at > from, colon) {
		p.at++
	}
	return p.text[from:p.at]
}

// nameByte reports whether a byte may stand in a name, or, with inside unset, begin one.
func nameByte(c byte, inside, colon bool) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
		return true
	case c >= '0' && c <= '9':
		return inside
	}
	return colon && c == ':'
}

func parseSelector(text string) (*selector, error) {
	p := &selectorParser{text: text}
	s := new(selector)
	p.space()
	if s.name = p.word(true); s.name == "" {
		return nil, p.wrong("the name of a metric")
	}
	p.space()
	if p.take("{") {
		if err := p.matchers(s); err != nil {
			return nil, err
		}
	}
	if p.space(); p.at < len(text) {
		return nil, p.wrong("nothing more, or labels in braces after the name")
	}
	return s, nil
}

// matchers reads what stands in braces, the closing one included.
func (p *selectorParser) matchers(s *selector) error {
	for {
		p.space()
		if p.take("}") {
			return nil
		}
		if len(s.matchers) > 0 {
			if !p.take(",") {
				return p.wrong("a comma or }")
			}
			if p.space(); p.take("}") {
				return nil // a comma at the end is fine
			}
		}
		m, err := p.matcher()
		if err != nil {
			return err
		}
		if s.matchers = append(s.matchers, m); len(s.matchers) > maxMatchers {
			return p.wrong("at most %d labels", maxMatchers)
		}
	}
}

func (p *selectorParser) matcher() (m matcher, err error) {
	if m.label = p.word(false); m.label == "" {
		return m, p.wrong("the name of a label")
	}
	p.space()
	pattern := false
	switch {
	case p.take("=~"):
		pattern = true
	case p.take("!~"):
		pattern, m.not = true, true
	case p.take("!="):
		m.not = true
	case !p.take("="):
		return m, p.wrong("one of = != =~ !~")
	}
	p.space()
	at := p.at
	if m.value, err = p.quoted(); err != nil || !pattern {
		return m, err
	}
	if m.re, err = regexp.Compile("^(?s:" + m.value + ")$"); err != nil {
		_, bare := regexp.Compile(m.value) // without our frame in the message
		if bare == nil {
			bare = err
		}
		p.at = at
		return m, p.wrong("a regular expression (%v)", bare)
	}
	return m, nil
}

// quoted takes a string in double or single quotes or in backticks.
func (p *selectorParser) quoted() (string, error) {
	if p.at == len(p.text) || strings.IndexByte("\"'`", p.text[p.at]) < 0 {
		return "", p.wrong("a value in quotes")
	}
	quote := p.text[p.at]
	var b strings.Builder
	for i := p.at + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == quote:
			p.at = i + 1
			return b.String(), nil
		case c == '\\' && quote != '`':
			i++
			if i == len(p.text) || strings.IndexByte(`\"'n`, p.text[i]) < 0 {
				p.at = i - 1
				return "", p.wrong(`one of \\ \" \' \n (a backslash of a pattern is written twice, or the value in backticks)`)
			}
			b.WriteByte(unescape(p.text[i]))
		default:
			b.WriteByte(c)
		}
	}
	p.at = len(p.text)
	return "", p.wrong("a closing %c", quote)
}

func unescape(c byte) byte {
	if c == 'n' {
		return '\n'
	}
	return c
}

// matches reports whether a series with the labels, as they stand between the braces of
// a page, is meant. ok is false for labels that cannot be read. scratch is for values
// with escapes, and is returned for the next call.
func (s *selector) matches(labels, scratch []byte) (match, ok bool, _ []byte) {
	match = true
	var seen uint64 // matchers whose label is there: maxMatchers bits at most
	rest := labels
	for {
		rest = bytes.TrimLeft(rest, " \t,")
		if len(rest) == 0 {
			break
		}
		var name, value []byte
		if name, value, rest, scratch, ok = nextLabel(rest, scratch[:0]); !ok {
			return false, false, scratch
		}
		for i := range s.matchers {
			if m := &s.matchers[i]; string(name) == m.label {
				seen |= 1 << i
				match = match && m.holds(value)
			}
		}
	}
	for i := range s.matchers {
		if seen&(1<<i) == 0 && !s.matchers[i].holds(nil) {
			return false, true, scratch
		}
	}
	return match, true, scratch
}

// nextLabel reads name="value" and what follows it. value may lie in scratch.
func nextLabel(b, scratch []byte) (name, value, rest, grown []byte, ok bool) {
	eq := bytes.IndexByte(b, '=')
	if eq <= 0 {
		return nil, nil, nil, scratch, false
	}
	name, b = bytes.TrimRight(b[:eq], " \t"), bytes.TrimLeft(b[eq+1:], " \t")
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, nil, scratch, false
	}
	b = b[1:]
	end := bytes.IndexAny(b, `"\`)
	if end >= 0 && b[end] == '"' {
		return name, b[:end], b[end+1:], scratch, true
	}
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return name, scratch, b[i+1:], scratch, true
		case c == '\\' && i+1 < len(b):
			i++
			scratch = append(scratch, unescape(b[i]))
		default:
			scratch = append(scratch, c)
		}
	}
	return nil, nil, nil, scratch, false
}
