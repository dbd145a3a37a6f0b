// SPDX-License-Identifier: Apache-2.0

package kernellab

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lines are what a guest writes, with a kernel's word among them.
const lines = `{"kernel":"6.1","case":"one static DNAT rule","traffic":"new","services":1,"counts":[10000,10000,10010]}
{"kernel":"6.1","case":"ours","traffic":"new","services":1000,"counts":[11800]}
[  1.0] a word of the kernel
{"kernel":"6.1","case":"ours","traffic":"new","services":1,"counts":[11799]}
{"kernel":"6.1","case":"ours","traffic":"established","services":1,"counts":[999]}
{"kernel":"6.1","case":"theirs","services":1,"error":"theirs at 1 services: set up: no such tool"}
{"kernel":"6.1","package":"core/nft","test":"TestGood","outcome":"PASS"}
{"kernel":"6.1","package":"core/nft","test":"TestBad","outcome":"FAIL","output":"bad_test.go:1: why\n"}
`

func mustRead(t *testing.T, text string) []Result {
	t.Helper()
	list, err := ReadResults(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestMarkdown(t *testing.T) {
	want := `Kernel 6.1. The repetitions of half of the counts are within 0.00 %, of all within 0.10 %.

| instructions per packet | new, 1 service | 1,000 | ÷ static | established, 1 service | 1,000 | ÷ static |
|---|---|---|---|---|---|---|
| one static DNAT rule | 10,000 |  | 1.000 |  |  |  |
| ours | 11,799 | 11,800 | 1.180 | 999 |  |  |
`
	if d := cmp.Diff(want, Markdown(mustRead(t, lines+`{"verdict":"ok"}`))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestPrint(t *testing.T) {
	var b strings.Builder
	if err := Print(&b, mustRead(t, lines+`{"verdict":"ok"}`)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"ours                  1000      new          11,800  0.00 %  1.180\n",
		"not measured: theirs at 1 services: set up: no such tool\n",
		"kernel 6.1, core/nft: FAIL TestBad\nbad_test.go:1: why\n",
		"kernel 6.1, core/nft: 1 tests passed\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}

func TestVerdict(t *testing.T) {
	tests := []struct{ name, last, want string }{
		{"good", `{"verdict":"ok"}`, ""},
		{"bad", `{"verdict":"failed","error":"tests of core/nft"}`, "tests of core/nft"},
		{"none", "", "without a verdict"},
		{"torn", `{"verdict":`, "read result"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list, err := ReadResults(strings.NewReader(lines + tt.last))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if len(list) != 7 {
				t.Errorf("%d results, want all 7, whatever the verdict", len(list))
			}
		})
	}
}

func TestSplice(t *testing.T) {
	page := "before\n" + begin + "old\n" + end + "\nafter\n"
	once, err := Splice(page, "new\n")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("before\n"+begin+"\nnew\n\n"+end+"\nafter\n", once); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if twice, err := Splice(once, "new\n"); err != nil || twice != once {
		t.Errorf("a second time gives %q, %v", twice, err)
	}
	for _, bad := range []string{"", begin, end + "\n" + begin} {
		if _, err := Splice(bad, "new\n"); err == nil {
			t.Errorf("page %q without markers is no error", bad)
		}
	}
}
