// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

// The layout of an SVG, in its units.
const (
	svgWidth  = 960
	svgLeft   = 56  // of the axis
	svgRight  = 840 // where the legend begins
	svgPanel  = 170 // height of a panel's field
	svgHead   = 26  // above a field
	svgFoot   = 42  // below it
	svgPoints = 120 // of a line, at most
)

// svgColors can be read on white and on black.
var svgColors = []string{"#4c8bf5", "#e5533d", "#2fa866", "#b06fd8", "#d98e04", "#17a2b8", "#e0559a", "#8d8d2f"}

// svgStyle follows the reader's light or dark mode; the ground is left as it is.
const svgStyle = `text{font:12px system-ui,sans-serif;fill:#333}.t{font-size:14px;font-weight:600}.g{stroke:#888;stroke-opacity:.4;stroke-width:.6}` +
	`.a{stroke:#888}.l{fill:none;stroke-width:1.5;stroke-linejoin:round}` +
	`@media (prefers-color-scheme:dark){text{fill:#ddd}}`

// writeSVG draws the runs one below the other, each with a panel of shares and
// one of CPU.
func writeSVG(w io.Writer, list []plot) {
	const each = svgHead + svgPanel + svgFoot
	height := 2 * each * len(list)
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img"><title>%s</title><style>%s</style>`+"\n",
		svgWidth, height, svgWidth, height, escaped(svgTitle(list)), svgStyle)
	for i, p := range list {
		shares, cpu := linesOf(p.series.Names, p.series.Shares), linesOf(p.series.Names, p.series.CPU)
		top := ceilingOf(shares)
		for k, panel := range []svgPanelOf{
			{p.title + ": share of new connections", "share, %", shares, top, p.series.Times},
			{p.title + ": CPU over 10 s", "CPU, %", cpu, 1, p.series.Times},
		} {
			fmt.Fprintf(w, `<g transform="translate(0 %d)">`+"\n", (2*i+k)*each+svgHead)
			panel.write(w)
			fmt.Fprintln(w, "</g>")
		}
	}
	fmt.Fprintln(w, "</svg>")
}

func svgTitle(list []plot) string {
	var titles []string
	for _, p := range list {
		titles = append(titles, p.title)
	}
	return "Shares and CPU over time: " + strings.Join(titles, "; ")
}

// An svgPanelOf is one field with its axes, lines and legend.
type svgPanelOf struct {
	title, unit string
	lines       []line
	top         float64
	times       []float64
}

func (p svgPanelOf) write(w io.Writer) {
	end := p.times[len(p.times)-1]
	fmt.Fprintf(w, `<text class="t" x="%d" y="-10">%s</text>`+"\n", svgLeft, escaped(p.title))
	const rows = 4
	for k := range rows + 1 {
		y := svgPanel * k / rows
		fmt.Fprintf(w, `<path class="g" d="M%d %dH%d"/><text x="%d" y="%d" text-anchor="end">%.4g</text>`+"\n",
			svgLeft, y, svgRight, svgLeft-8, y+4, 100*p.top*float64(rows-k)/rows)
	}
	step := timeStep(end)
	for t := 0.0; t <= end; t += step {
		x := p.x(t)
		fmt.Fprintf(w, `<path class="g" d="M%d 0V%d"/><text x="%d" y="%d" text-anchor="middle">%.0f</text>`+"\n", x, svgPanel, x, svgPanel+16, t)
	}
	fmt.Fprintf(w, `<path class="a" fill="none" d="M%d 0V%dH%d"/><text x="%d" y="%d" text-anchor="middle">time, s</text>`+"\n",
		svgLeft, svgPanel, svgRight, (svgLeft+svgRight)/2, svgPanel+32)
	fmt.Fprintf(w, `<text transform="translate(14 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", svgPanel/2, escaped(p.unit))
	p.curves(w)
}

func (p svgPanelOf) curves(w io.Writer) {
	const most = 10 // in the legend
	for i, l := range p.lines {
		c := svgColors[i%len(svgColors)]
		fmt.Fprintf(w, `<path class="l" stroke="%s" d="%s"/>`+"\n", c, p.path(l))
		switch y := 12 + 16*i; {
		case i < most:
			fmt.Fprintf(w, `<path class="l" stroke="%s" d="M%d %dh18"/><text x="%d" y="%d">%s</text>`+"\n", c, svgRight+12, y-4, svgRight+36, y, escaped(l.name))
		case i == most:
			fmt.Fprintf(w, `<text x="%d" y="%d">and %d more</text>`+"\n", svgRight+12, y, len(p.lines)-most)
		}
	}
}

// path is a line in whole units across and tenths down: that is finer than a
// screen shows, and short.
func (p svgPanelOf) path(l line) string {
	var b strings.Builder
	every := max(1, len(l.values)/svgPoints)
	for k := every - 1; k < len(l.values); k += every {
		sum := 0.0
		for _, v := range l.values[k-every+1 : k+1] {
			sum += v
		}
		y := svgPanel * (1 - min(sum/float64(every)/p.top, 1))
		sep := " "
		if b.Len() == 0 {
			sep = "M"
		}
		fmt.Fprintf(&b, "%s%d %.4g", sep, p.x(p.times[k]), math.Round(10*y)/10)
	}
	return b.String()
}

func (p svgPanelOf) x(t float64) int {
	return svgLeft + int(math.Round((svgRight-svgLeft)*t/p.times[len(p.times)-1]))
}

// timeStep is a round time of which there are about eight.
func timeStep(end float64) float64 {
	for _, s := range []float64{1, 2, 5, 10, 20, 30, 60, 120, 200, 300, 600, 1200, 1800, 3600, 7200} {
		if end/s <= 8 {
			return s
		}
	}
	return 10800
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(clean(s))) // a Builder does not fail
	return b.String()
}
