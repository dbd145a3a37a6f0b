// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core/admin"
)

const (
	// metricsAtOnce is the most that one message to a sender holds. A stream that is
	// slower goes out line by line.
	metricsAtOnce = 500
	maxMetricLine = 64 << 10
	maxRefused    = 1000 // that are listed; a stream may go on for ever
)

// metricOf is one metric out of three or four words.
func metricOf(words []string) (admin.PushMetric, error) {
	if len(words) < 3 || len(words) > 4 {
		return admin.PushMetric{}, fmt.Errorf("got %s, want TARGET NAME VALUE [UNIT]", plural(len(words), "word"))
	}
	m := admin.PushMetric{Target: words[0], Name: words[1]}
	v, err := strconv.ParseFloat(words[2], 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return m, fmt.Errorf("value %q is no number", words[2])
	}
	m.Value = v
	if len(words) == 4 {
		m.Unit = words[3]
	}
	return m, check(m)
}

func check(m admin.PushMetric) error {
	switch {
	case m.Target == "":
		return errors.New("the target is empty")
	case m.Name == "":
		return errors.New("the name is empty")
	}
	return nil
}

// parseMetric reads a line of standard input.
func parseMetric(line []byte) (admin.PushMetric, error) {
	if line[0] != '{' {
		return metricOf(strings.Fields(string(line)))
	}
	var m struct {
		admin.PushMetric
		Value *float64 `json:"value"` // over that of PushMetric: absent is not 0
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m.PushMetric, fmt.Errorf("not a metric in JSON: %w", err)
	}
	if d.More() {
		return m.PushMetric, errors.New("more than one value on the line")
	}
	if m.Value == nil {
		return m.PushMetric, errors.New("value: is missing")
	}
	m.PushMetric.Value = *m.Value
	return m.PushMetric, check(m.PushMetric)
}

// A metricLine is what stands on a line, or what is wrong with it.
type metricLine struct {
	n int
	admin.PushMetric
	err error
}

// A metricPusher sends metrics and keeps count.
type metricPusher struct {
	to     metricSender
	unit   string  // where a line has none
	window float64 // the same, in seconds
	warn   func(text string)
	result metricResult
}

func (p *metricPusher) one(ctx context.Context, m admin.PushMetric) error {
	a, err := p.to.send(ctx, p.filled([]metricLine{{PushMetric: m}}))
	if err == nil && len(a.Refused) > 0 {
		err = errors.New(a.Refused[0].Error)
	}
	p.heed(a.Warning)
	return err
}

func (p *metricPusher) filled(lines []metricLine) []admin.PushMetric {
	out := make([]admin.PushMetric, len(lines))
	for i := range lines {
		out[i] = lines[i].PushMetric
		out[i].Unit, out[i].Window = cmp.Or(out[i].Unit, p.unit), cmp.Or(out[i].Window, p.window)
	}
	return out
}

// all sends what comes in until the input or ctx ends. A batch is what has come
// while the one before was under way.
func (p *metricPusher) all(ctx context.Context, in io.Reader) error {
	lines := make(chan metricLine, metricsAtOnce) // full: the reader waits
	ended := make(chan error, 1)
	stop := make(chan struct{})
	defer close(stop)
	// It ends with its input or at the next line: a read cannot be called off, and the
	// process ends after this.
	go func() {
		ended <- readMetrics(in, lines, stop)
		close(lines)
	}()
	for {
		var batch []metricLine
		select {
		case <-ctx.Done():
			return nil // Ctrl-C is how a stream ends
		case l, more := <-lines:
			if !more {
				return <-ended
			}
			batch = append(batch, l)
		}
		for len(batch) < metricsAtOnce && len(lines) > 0 {
			batch = append(batch, <-lines)
		}
		if err := p.batch(ctx, batch); err != nil {
			return err
		}
	}
}

func (p *metricPusher) batch(ctx context.Context, lines []metricLine) error {
	good := lines[:0]
	for _, l := range lines {
		if l.err != nil {
			p.refuse(l.n, l.err.Error())
			continue
		}
		good = append(good, l)
	}
	if len(good) == 0 {
		return nil
	}
	a, err := p.to.send(ctx, p.filled(good))
	if err != nil {
		return err
	}
	p.result.Taken += a.Taken
	p.heed(a.Warning)
	for _, r := range a.Refused {
		if r.Index >= 0 && r.Index < len(good) {
			p.refuse(good[r.Index].n, r.Error)
		}
	}
	return nil
}

// heed says a warning once, however long the stream is.
func (p *metricPusher) heed(text string) {
	if text != "" && text != p.result.Warning {
		p.result.Warning = text
		p.warn(text)
	}
}

func (p *metricPusher) refuse(line int, text string) {
	p.warn(fmt.Sprintf("line %d: %s", line, text))
	if len(p.result.Refused) < maxRefused {
		p.result.Refused = append(p.result.Refused, refusedMetric{line, text})
	}
}

// readMetrics reads lines until the input ends or stop is closed.
func readMetrics(in io.Reader, out chan<- metricLine, stop <-chan struct{}) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxMetricLine)
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		l := metricLine{n: n}
		l.PushMetric, l.err = parseMetric(line)
		select {
		case out <- l:
		case <-stop:
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read standard input, line %d: %w", n+1, err)
	}
	return nil
}
