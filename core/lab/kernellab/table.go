// SPDX-License-Identifier: Apache-2.0

package kernellab

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Reference is the case that others are compared with, at one service.
const Reference = "one static DNAT rule"

// A table is the counts of one kernel.
type table struct {
	kernel   string
	cases    []string // in the order of their first result
	services []int    // ascending
	counts   map[cell]Result
}

type cell struct {
	name     string
	traffic  Traffic
	services int
}

// tables sorts counts by kernel, in the order in which the kernels come.
func tables(results []Result) []*table {
	var list []*table
	for _, r := range results {
		if r.Case == "" || r.Error != "" {
			continue
		}
		i := slices.IndexFunc(list, func(t *table) bool { return t.kernel == r.Kernel })
		if i < 0 {
			list, i = append(list, &table{kernel: r.Kernel, counts: map[cell]Result{}}), len(list)
		}
		list[i].add(r)
	}
	return list
}

func (t *table) add(r Result) {
	if !slices.Contains(t.cases, r.Case) {
		t.cases = append(t.cases, r.Case)
	}
	if at, there := slices.BinarySearch(t.services, r.Services); !there {
		t.services = slices.Insert(t.services, at, r.Services)
	}
	t.counts[cell{r.Case, r.Traffic, r.Services}] = r
}

// text is a cell's median, such as "14,777", or "" if it was not measured.
func (t *table) text(name string, traffic Traffic, services int) string {
	r, ok := t.counts[cell{name, traffic, services}]
	if !ok {
		return ""
	}
	return thousands(int(Median(r.Counts) + 0.5))
}

// ratio is a cell as a multiple of the reference's, such as "1.18", or "".
func (t *table) ratio(name string, traffic Traffic, services int) string {
	r, ok := t.counts[cell{name, traffic, services}]
	ref := Median(t.counts[cell{Reference, traffic, 1}].Counts)
	if !ok || ref == 0 {
		return ""
	}
	return strconv.FormatFloat(Median(r.Counts)/ref, 'f', 3, 64)
}

// spread is how far apart the repetitions of a count are: of half the counts at
// most, and of all.
func (t *table) spread() (usual, worst float64) {
	var all []float64
	for _, r := range t.counts {
		all = append(all, Spread(r.Counts))
	}
	return Median(all), slices.Max(all)
}

// Markdown is one table per kernel for a page of the documentation.
func Markdown(results []Result) string {
	var b strings.Builder
	for i, t := range tables(results) {
		if i > 0 {
			b.WriteString("\n")
		}
		t.markdown(&b)
	}
	return b.String()
}

func (t *table) markdown(b *strings.Builder) {
	usual, worst := t.spread()
	fmt.Fprintf(b, "Kernel %s. The repetitions of half of the counts are within %.2f %%, of all within %.2f %%.\n\n", t.kernel, 100*usual, 100*worst)
	head, line := "| instructions per packet |", "|---|"
	for _, traffic := range []Traffic{New, Established} {
		for i, n := range t.services {
			what := " " + thousands(n)
			if i == 0 {
				what = " " + string(traffic) + "," + what + plural(n, " service")
			}
			head += what + " |"
			line += "---|"
		}
		head += " ÷ static |"
		line += "---|"
	}
	fmt.Fprintf(b, "%s\n%s\n", head, line)
	for _, name := range t.cases {
		fmt.Fprintf(b, "| %s |", name)
		for _, traffic := range []Traffic{New, Established} {
			for _, n := range t.services {
				fmt.Fprintf(b, " %s |", t.text(name, traffic, n))
			}
			fmt.Fprintf(b, " %s |", t.ratio(name, traffic, t.services[0]))
		}
		b.WriteString("\n")
	}
}

// Print writes what a person wants to read on a terminal: every count with its
// spread, and what became of the tests.
func Print(w io.Writer, results []Result) error {
	for _, t := range tables(results) {
		fmt.Fprintf(w, "kernel %s, instructions per packet (÷: by %s at one service)\n", t.kernel, Reference)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "case\tservices\ttraffic\tmedian\tspread\t÷")
		for _, name := range t.cases {
			for _, traffic := range []Traffic{New, Established} {
				for _, n := range t.services {
					if r, ok := t.counts[cell{name, traffic, n}]; ok {
						fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%.2f %%\t%s\n", name, n, traffic,
							t.text(name, traffic, n), 100*Spread(r.Counts), t.ratio(name, traffic, n))
					}
				}
			}
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	return printTests(w, results)
}

func printTests(w io.Writer, results []Result) error {
	passed := map[string]int{} // by kernel and package
	var order []string
	for _, r := range results {
		key := fmt.Sprintf("kernel %s, %s", r.Kernel, r.Package)
		switch {
		case r.Case != "" && r.Error != "":
			fmt.Fprintf(w, "not measured: %s\n", r.Error)
		case r.Test == "":
		case r.Outcome == "PASS":
			if passed[key]++; passed[key] == 1 {
				order = append(order, key)
			}
		default:
			fmt.Fprintf(w, "%s: %s %s\n%s", key, r.Outcome, r.Test, r.Output)
		}
	}
	for _, key := range order {
		if _, err := fmt.Fprintf(w, "%s: %d tests passed\n", key, passed[key]); err != nil {
			return err
		}
	}
	return nil
}

// thousands writes 14777 as 14,777.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
