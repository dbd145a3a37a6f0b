// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits on what a page of metrics can make us read and keep in one run.
const (
	maxPage       = 8 << 20
	maxLine       = 16 << 10 // of a series that is asked for
	maxPageSeries = 4096     // of one metric of ours
)

// lineReaders are buffers of one line each.
var lineReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, maxLine) }}

// A pagePart is what a page of metrics holds for one selector.
type pagePart struct {
	selector *selector
	readings []reading
	named    int       // series of that name, with whatever labels
	stamp    time.Time // the newest of the page's own; zero if one of the readings has none
	kind     string    // as the page says: counter, gauge, …; empty if it does not
}

// A pageError is a sentence about a page that cannot be read.
type pageError string

func (e pageError) Error() string { return string(e) }

// readPage reads a page in Prometheus's text format 0.0.4 line by line and keeps what
// parts ask for: of a thousand series most probes want three. It returns the number of
// series of the page. The error is a sentence about the page, or one of reading.
//
// Only lines of the wanted names are looked into. Of OpenMetrics, which is
// close, it reads all that it needs, too.
func readPage(page io.Reader, parts []pagePart) (series int, err error) {
	limited := &io.LimitedReader{R: page, N: maxPage + 1}
	in := lineReaders.Get().(*bufio.Reader)
	in.Reset(limited)
	defer func() {
		in.Reset(nil)
		lineReaders.Put(in)
	}()
	var scratch []byte
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		whole := !errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			// line is lost with the next read, and only its beginning is needed.
			line = bytes.Clone(line[:min(len(line), 256)])
			_, err = in.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return series, err
		}
		isSeries, wrong := readLine(bytes.Trim(line, " \t\r\n"), whole, parts, &scratch)
		if wrong != "" {
			return series, pageError(fmt.Sprintf("line %d: %s", n, wrong))
		}
		if isSeries {
			series++
		}
		switch {
		case limited.N == 0:
			return series, pageError(fmt.Sprintf("the page is longer than %d MiB", maxPage>>20))
		case err != nil:
			return series, nil
		}
	}
}

// readLine reads one line. whole is false for a long one of which only the beginning is
// there.
func readLine(line []byte, whole bool, parts []pagePart, scratch *[]byte) (isSeries bool, wrong string) {
	if len(line) == 0 {
		return false, ""
	}
	if line[0] == '#' {
		noteKind(line, parts)
		return false, ""
	}
	n := 0
	for n < len(line) && nameByte(line[n], n > 0, true) {
		n++
	}
	if n == 0 {
		return false, fmt.Sprintf("want the name of a metric before %s: is this the page of metrics?", strconv.Quote(firstOf(line[:min(len(line), 40)])))
	}
	for i := range parts {
		p := &parts[i]
		if string(line[:n]) != p.selector.name {
			continue
		}
		if !whole {
			return true, fmt.Sprintf("a series of %s is longer than %d KiB", p.selector.name, maxLine>>10)
		}
		if wrong := p.read(line[n:], scratch); wrong != "" {
			return true, wrong
		}
	}
	return true, ""
}

// noteKind reads `# TYPE name kind`.
func noteKind(line []byte, parts []pagePart) {
	rest, ok := bytes.CutPrefix(line, []byte("# TYPE "))
	if !ok {
		return
	}
	name, kind, ok := bytes.Cut(rest, []byte(" "))
	for i := range parts {
		// OpenMetrics leaves _total out of the name here.
		if ok && strings.TrimSuffix(parts[i].selector.name, "_total") == strings.TrimSuffix(string(name), "_total") {
			parts[i].kind = string(kind)
		}
	}
}

// read reads what follows the name of a series: labels, value, and a time in
// milliseconds if there is one.
func (p *pagePart) read(rest []byte, scratch *[]byte) (wrong string) {
	p.named++
	var labels []byte
	if rest = bytes.TrimLeft(rest, " \t"); len(rest) > 0 && rest[0] == '{' {
		end := labelsEnd(rest)
		if end < 0 {
			return "labels of " + p.selector.name + " without an end"
		}
		labels, rest = rest[1:end], rest[end+1:]
	}
	match, ok, grown := p.selector.matches(labels, *scratch)
	*scratch = grown
	switch {
	case !ok:
		return "the labels of " + p.selector.name + " cannot be read"
	case !match:
		return ""
	}
	text, rest := cutField(rest)
	value, err := strconv.ParseFloat(string(text), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return "the value of " + p.selector.name + " is no number"
	}
	if len(p.readings) == maxPageSeries {
		return fmt.Sprintf("more than %d series for %s", maxPageSeries, p.selector.name)
	}
	p.add(reading{key: maphash.Bytes(keySeed, labels), value: value}, rest)
	return ""
}

// add keeps a reading. rest is what follows its value.
func (p *pagePart) add(r reading, rest []byte) {
	var stamp time.Time
	text, _ := cutField(rest)
	if ms, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		stamp = time.UnixMilli(ms)
	} else if s, err := strconv.ParseFloat(string(text), 64); err == nil && s > 0 && s < 1e11 {
		stamp = time.UnixMilli(int64(s * 1000)) // OpenMetrics: seconds with a fraction
	}
	switch {
	case len(p.readings) == 0, !p.stamp.IsZero() && (stamp.IsZero() || stamp.After(p.stamp)):
		p.stamp = stamp
	}
	p.readings = append(p.readings, r)
}

// labelsEnd finds the brace that closes the one at the beginning: those in values
// do not count.
func labelsEnd(b []byte) int {
	inside := false
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\\' && inside:
			i++
		case c == '"':
			inside = !inside
		case c == '}' && !inside:
			return i
		}
	}
	return -1
}

// cutField cuts off the first word.
func cutField(b []byte) (field, rest []byte) {
	b = bytes.TrimLeft(b, " \t")
	if i := bytes.IndexAny(b, " \t"); i >= 0 {
		return b[:i], b[i:]
	}
	return b, nil
}
