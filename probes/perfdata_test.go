// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePerf(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // perfItem.String
	}{
		{"check_ping", "rta=0.064000ms;10.000000;50.000000;0.000000 pl=0%;20;60;0;", []string{
			"rta = 6.4e-05 seconds, warning outside 0 to 0.01, critical outside 0 to 0.05",
			"pl = 0 ratio, warning outside 0 to 0.2, critical outside 0 to 0.6",
		}},
		{"check_load", "load1=0.340;5.000;10.000;0; load5=0.360;4.000;6.000;0; ", []string{
			"load1 = 0.34, warning outside 0 to 5, critical outside 0 to 10",
			"load5 = 0.36, warning outside 0 to 4, critical outside 0 to 6",
		}},
		{"check_disk", " /=58180239360B;243497277849;257024904396;0;270552530944", []string{
			"/ = 5.81802e+10 bytes, warning outside 0 to 2.43497e+11, critical outside 0 to 2.57025e+11",
		}},
		{"check_http", "time=0.017596s;;;0;10 size=113B", []string{"time = 0.017596 seconds", "size = 113 bytes"}},
		{"quotes", "'a b'=1 'it''s'=2s 'x=y'=3", []string{"a b = 1", "it's = 2 seconds", "x=y = 3"}},
		{"several lines", "a=1\nb=2\r\nc=3", []string{"a = 1", "b = 2", "c = 3"}},
		{"unknown value", "a=U b=U;;;0 c=1", []string{"c = 1"}},
		{"comma of a locale", "a=1,5s b=1,234.5", []string{"a = 1.5 seconds"}},
		{"bytes", "a=1KB b=2MiB c=1TB d=1kB e=3EB", []string{
			"a = 1024 bytes", "b = 2.09715e+06 bytes", "c = 1.09951e+12 bytes", "d = 1024 bytes", "e = 3.45876e+18 bytes",
		}},
		{"times", "a=5us b=7ns c=2min d=1d e=3µs", []string{
			"a = 5e-06 seconds", "b = 7e-09 seconds", "c = 120 seconds", "d = 86400 seconds", "e = 3e-06 seconds",
		}},
		{"counter and degrees", "a=17c b=21C", []string{"a = 17 (counter)", "b = 21 celsius"}},
		{"exponents", "a=1e3 b=2E-3s c=4e d=-5", []string{"a = 1000", "b = 0.002 seconds", "c = 4 e", "d = -5"}},
		{"an unknown unit", "fan=1200RPM", []string{"fan = 1200 rpm"}},
		{"no numbers", "a=abc b= c=; d=- e=+. f=1", []string{"f = 1"}},
		{"no labels", "=1 5 foo 'a'b=1 'a b", []string{}},
		{"garbage between", "a=1 & 'b=2 c=0x3 d=1_0 e=4,", []string{"a = 1", "e = 4"}},
		{"a second bar", "a=1 | b=2", []string{"a = 1", "b = 2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := []string{}
			for _, it := range parsePerf(tt.text) {
				got = append(got, it.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestPerfPart(t *testing.T) {
	tests := []struct {
		name, output string
		cut          bool
		want         string
	}{
		{"none", "OK\n", false, "\n"},
		{"one line", "OK - fine | a=1\n", false, " a=1\n"},
		{"several lines", "OK | a=1\nmore text\nand more | b=2\nc=3\n", false, " a=1\n b=2\nc=3\n"},
		{"only in the long text", "OK\nmore | b=2", false, "\n b=2"},
		{"half a number", "OK | a=1 b=1234", true, " a=1 \n"},
		{"nothing but half a word", "OK", true, "\n"},
	}
	for _, tt := range tests {
		if got := perfPart(tt.output, tt.cut); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestMetricName(t *testing.T) {
	tests := map[string]string{
		"load1": "load1", "rta": "rta", "/": "value", "/var/log": "var_log", "C:\\ %": "c", "It's": "it_s", "__a--b__": "a_b",
		"1min": "perf_1min", "ä": "value", "weight": "perf_weight", "CPU": "perf_cpu", "Max-Connections": "perf_max_connections",
		strings.Repeat("ab", 99): strings.Repeat("ab", maxMetricName/2),
	}
	for label, want := range tests {
		if got := metricName(label); got != want {
			t.Errorf("%q: got %q, want %q", label, got, want)
		}
	}
}

// TestSpan is the table of the development guidelines of the Monitoring Plugins.
func TestSpan(t *testing.T) {
	inf := math.Inf(1)
	tests := []struct {
		text         string
		quiet, alert []float64
		says         string
	}{
		{"10", []float64{0, 5, 10}, []float64{-1, 10.5}, "outside 0 to 10"},
		{"10:", []float64{10, 1e9, inf}, []float64{9.9, -1}, "below 10"},
		{"~:10", []float64{-inf, -5, 10}, []float64{10.1}, "above 10"},
		{"10:20", []float64{10, 15, 20}, []float64{9, 21}, "outside 10 to 20"},
		{"@10:20", []float64{9, 21}, []float64{10, 15, 20}, "from 10 to 20"},
		{"-5:-1", []float64{-5, -3, -1}, []float64{0, -6}, "outside -5 to -1"},
	}
	for _, tt := range tests {
		s, err := parseSpan(tt.text)
		if err != nil {
			t.Fatalf("%s: %v", tt.text, err)
		}
		if s.String() != tt.says {
			t.Errorf("%s: says %q, want %q", tt.text, s, tt.says)
		}
		for _, v := range tt.quiet {
			if s.alerts(v) {
				t.Errorf("%s warns of %v", tt.text, v)
			}
		}
		for _, v := range tt.alert {
			if !s.alerts(v) {
				t.Errorf("%s does not warn of %v", tt.text, v)
			}
		}
	}
	for _, text := range []string{"20:10", "a", "1:b", "::", "@", "~", "NaN", "1:NaN"} {
		if s, err := parseSpan(text); err == nil && text != "@" {
			t.Errorf("%q was taken as %v", text, s)
		}
	}
}

var goodName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// FuzzPerfdata: whatever a plugin prints, metrics are finite and have good names.
func FuzzPerfdata(f *testing.F) {
	for _, s := range []string{
		"OK | a=1;2;3;4;5", "x|'a b'=1.5ms;@~:5;5:10\nlong|b=2c", "|a=1e400 b=NaN c=Inf d=0x10 e=1_0", "|'''=1 ''''=2",
		"| /=58180239360B;243497277849;257024904396;0;270552530944 weight=1 1=2", "|a=1,5 b=1,000,000.5%", "|a=9e307EB",
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, output string, cut bool) {
		items := parsePerf(perfPart(output, cut))
		if len(items) > maxPerfItems {
			t.Fatalf("%d items", len(items))
		}
		for _, it := range items {
			if math.IsNaN(it.value) || math.IsInf(it.value, 0) || it.label == "" {
				t.Errorf("%q gives %+v", output, it)
			}
			name := metricName(it.label)
			if !goodName.MatchString(name) || len(name) > maxMetricName+len("perf_") || steering[name] {
				t.Errorf("label %q becomes %q", it.label, name)
			}
			if it.unit != "" && !goodName.MatchString(it.unit) {
				t.Errorf("%q gives the unit %q", output, it.unit)
			}
			_ = it.String()
		}
	})
}
