// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/steelyard-lb/steelyard/core/sim"
)

// A plot is one run over time.
type plot struct {
	title  string
	series *sim.Series
}

// plots are the runs to be drawn: those of the reference only if there are no
// others.
func plots(results []scenarioResult) []plot {
	var out []plot
	for _, r := range results {
		for i, one := range r.Results {
			if one.Series != nil && (i > 0 || len(r.Results) == 1) {
				out = append(out, plot{fmt.Sprintf("%s, %s", r.Name, one.Policy), one.Series})
			}
		}
	}
	for i := range results {
		for k := range results[i].Results {
			results[i].Results[k].Series = nil // it is of no use in a table or in JSON
		}
	}
	return out
}

// maxPlots is how many runs a chart may have.
const maxPlots = 12

// simulatePlot draws to a file, or to the terminal if dest is "-".
func (g *globals) simulatePlot(dest string, results []scenarioResult) error {
	list := plots(results)
	if len(list) > maxPlots {
		return usage(fmt.Errorf("--plot: %d runs are too many for one chart; name at most %d scenarios and policies together", len(list), maxPlots))
	}
	if dest != "-" {
		var b bytes.Buffer
		writeSVG(&b, list)
		return os.WriteFile(dest, b.Bytes(), 0o644)
	}
	out := g.stdout
	if g.Output == "json" {
		out = g.stderr
	}
	for _, p := range list {
		p.terminal(out, painter(g.color(out)))
	}
	return nil
}

// A line is a backend's values over time.
type line struct {
	name   string
	values []float64
}

// linesOf turns rows by time into one line for each backend.
func linesOf(names []string, rows [][]float64) []line {
	out := make([]line, len(names))
	for i, name := range names {
		out[i].name = name
		for _, row := range rows {
			out[i].values = append(out[i].values, row[i])
		}
	}
	return out
}

// ceilingOf is a round number that no value is above.
func ceilingOf(ls []line) float64 {
	top := 0.0
	for _, l := range ls {
		top = max(top, slices.Max(l.values))
	}
	for _, step := range []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5} {
		if top <= step {
			return step
		}
	}
	return 1
}

// The size of a chart on a terminal, in characters. A character of braille is two
// dots wide and four high.
const (
	chartWidth  = 72
	chartHeight = 11 // odd, for a middle
)

// terminalColors are told apart on light and dark ground.
var terminalColors = []color{"\x1b[34m", "\x1b[31m", "\x1b[32m", "\x1b[35m", "\x1b[36m", "\x1b[33m", "\x1b[94m", "\x1b[91m"}

func (p plot) terminal(w io.Writer, paint painter) {
	for _, panel := range []struct {
		title string
		lines []line
		top   float64
	}{
		{"share of new connections", linesOf(p.series.Names, p.series.Shares), 0},
		{"CPU", linesOf(p.series.Names, p.series.CPU), 1},
	} {
		top := panel.top
		if top == 0 {
			top = ceilingOf(panel.lines)
		}
		fmt.Fprintf(w, "%s: %s\n", paint.paint(bold, clean(p.title)), panel.title)
		drawBraille(panel.lines, top).write(w, paint)
		end := p.series.Times[len(p.series.Times)-1]
		last := seconds(end)
		fmt.Fprintf(w, "%7s%s%*s\n\n", "0 ", "", chartWidth, last)
	}
}

// A brailleChart is a grid of characters.
type brailleChart struct {
	top    float64
	dots   [chartHeight][chartWidth]rune
	owner  [chartHeight][chartWidth]int
	labels [chartHeight][]int // lines that end in a row
	lines  []line
}

// dotBits are the bits of a braille character, by column and row of its dots.
var dotBits = [2][4]rune{{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}}

func drawBraille(ls []line, top float64) *brailleChart {
	c := &brailleChart{top: top, lines: ls}
	for i, l := range ls {
		before := -1
		for x := range 2 * chartWidth {
			v := l.values[min(len(l.values)-1, x*len(l.values)/(2*chartWidth))]
			y := int(math.Round((1 - min(v/top, 1)) * (4*chartHeight - 1)))
			lo, hi := y, y
			if before >= 0 { // no holes where it is steep
				lo, hi = min(y, before), max(y, before)
			}
			for k := lo; k <= hi; k++ {
				c.dots[k/4][x/2] |= dotBits[x%2][k%4]
				c.owner[k/4][x/2] = i
			}
			before = y
		}
		c.labels[before/4] = append(c.labels[before/4], i)
	}
	return c
}

func (c *brailleChart) write(w io.Writer, paint painter) {
	const braille = 0x2800
	const most = 6 // labels in a row
	for y := range c.dots {
		axis := ""
		if y == 0 || y == chartHeight-1 || y == chartHeight/2 {
			axis = ratio(c.top * (1 - float64(y)/(chartHeight-1)))
		}
		fmt.Fprintf(w, "%s%s ┤", strings.Repeat(" ", max(0, 6-utf8.RuneCountInString(axis))), axis)
		for x, d := range c.dots[y] {
			if d == 0 {
				fmt.Fprint(w, " ")
				continue
			}
			fmt.Fprint(w, paint.paint(colorOf(c.owner[y][x]), string(braille+d)))
		}
		for k, i := range c.labels[y] {
			if k == most {
				fmt.Fprintf(w, " and %d more", len(c.labels[y])-most)
				break
			}
			fmt.Fprint(w, " ", paint.paint(colorOf(i), clean(c.lines[i].name)))
		}
		fmt.Fprintln(w)
	}
}

func colorOf(i int) color { return terminalColors[i%len(terminalColors)] }
