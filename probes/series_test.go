// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSelector(t *testing.T) {
	tests := []struct{ selector, labels, want string }{
		{`up`, ``, "yes"},
		{`up{}`, `job="x"`, "yes"},
		{`up{job="x"}`, `job="x"`, "yes"},
		{`up{job="x"}`, `job="xy"`, "no"},
		{`up{job="x"}`, ``, "no"},
		{`up{job=""}`, ``, "yes"},
		{`up{job!="x"}`, ``, "yes"},
		{`up{job!="x"}`, `job="x"`, "no"},
		{` up { job = 'x' , } `, `job="x"`, "yes"},
		{`up{job=~"x|y"}`, `job="y"`, "yes"},
		{`up{job=~"x|y"}`, `job="xy"`, "no"},
		{`up{job=~".+"}`, ``, "no"},
		{`up{job=~".*"}`, ``, "yes"},
		{`up{job!~"x.*"}`, `job="xy"`, "no"},
		{`up{job!~"x.*"}`, `job="y"`, "yes"},
		{"up{path=~`/d\\d+`}", `path="/d12"`, "yes"},
		{`up{path=~"/d\\d+"}`, `path="/d12"`, "yes"},
		{`up{a="1",b!="2"}`, `b="3",a="1"`, "yes"},
		{`up{a="1",b!="2"}`, `b="2",a="1"`, "no"},
		{`up{a=~"x.*",a!="xy"}`, `a="xy"`, "no"},
		{`up{a="b\"c\\d\ne"}`, `a="b\"c\\d\ne"`, "yes"},
		{`up{a="}"}`, `x="{,=}", a="}" ,`, "yes"},
		{`up{b="2"}`, `a = "1" , b = "2"`, "yes"},
		{`up{a="x\ny"}`, `a="x`, "broken"},
		{`up`, `a=1`, "broken"},
		{`up`, `a`, "broken"},
		{`up`, `="1"`, "broken"},
	}
	for _, tt := range tests {
		s, err := selectSeries(tt.selector)
		if err != nil {
			t.Errorf("%s: %v", tt.selector, err)
			continue
		}
		match, ok, _ := s.matches([]byte(tt.labels), nil)
		got := map[bool]string{true: "yes", false: "no"}[match]
		if !ok {
			got = "broken"
		}
		if got != tt.want {
			t.Errorf("%s on {%s}: got %s, want %s", tt.selector, tt.labels, got, tt.want)
		}
	}
}

func TestSelectorMistakes(t *testing.T) {
	tests := []struct{ selector, want string }{
		{"", "want the name of a metric at its end"},
		{"{job=\"x\"}", "want the name of a metric at character 1"},
		{"9up", "want the name of a metric at character 1"},
		{"up down", "want nothing more, or labels in braces after the name at character 4, before down"},
		{"up{job", "want one of = != =~ !~ at its end"},
		{"up{job=x}", "want a value in quotes at character 8, before x}"},
		{"up{job>\"1\"}", "want one of = != =~ !~ at character 7"},
		{"up{job==\"1\"}", `want a value in quotes at character 8, before ="1"}`},
		{"up{job=\"x\"", "want a comma or } at its end"},
		{"up{job=\"x\" a=\"y\"}", "want a comma or } at character 12"},
		{"up{job=\"x}", "want a closing \" at its end"},
		{"up{,}", "want the name of a label at character 4"},
		{"up{job=\"\\d\"}", "a backslash of a pattern is written twice"},
		{"up{job=~\"(\"}", "want a regular expression (error parsing regexp: missing closing ): `(`)"},
		{"up{job=\"x\"}5", "want nothing more"},
		{"up{ä=\"x\"}", "want the name of a label at character 4"},
		{"up{a=\"ä\" b}", "want a comma or } at character 10"},
		{"up{" + strings.Repeat(`a="",`, maxMatchers+1) + "}", "at most 32 labels"},
	}
	for _, tt := range tests {
		if err := CheckSeries(tt.selector); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", tt.selector, err, tt.want)
		}
	}
}

// FuzzSelector: a selector is refused with one line of text, or works on any labels.
func FuzzSelector(f *testing.F) {
	f.Add(`up{job="x",a=~"b.*",c!~'d'}`, `job="x",a="b"`)
	f.Add("up{a=`\\d`}", `a="\\d"`)
	f.Add(`up{job=~"("}`, `job="\`)
	f.Fuzz(func(t *testing.T, text, labels string) {
		s, err := parseSelector(text)
		if err != nil {
			if strings.Contains(text, "\n") || !utf8.ValidString(text) {
				return
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q gives %q", text, err)
			}
			return
		}
		if again, err := parseSelector(text); err != nil || again.name != s.name || len(again.matchers) != len(s.matchers) {
			t.Errorf("%q is read in two ways", text)
		}
		s.matches([]byte(labels), nil)
	})
}
