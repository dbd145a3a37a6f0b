// SPDX-License-Identifier: Apache-2.0

package config

import "strings"

// A plainReader reads the YAML that configurations are mostly written in: maps
// and lists by indent, {flow} and [flow] within a line, words, numbers and
// quoted text without escapes. It gives up at whatever else there is, and then
// the real parser reads the whole file: of what this one accepts a test holds
// the two to the same values at the same places. It is here because it takes a
// tenth of the parser's time, which of 10,000 services is seconds.
type plainReader struct {
	src   *source
	lines []string
	n     int // the line that is read, from 0
	names map[string]string
}

// parsePlain reports false when the file is not that plain.
func parsePlain(src *source, lines []string) (value, bool) {
	r := &plainReader{src: src, lines: lines, names: map[string]string{}}
	for _, line := range lines {
		// The parser counts a space at the end into where a number stands.
		if strings.HasSuffix(line, " ") || strings.ContainsFunc(line, control) {
			return value{}, false
		}
	}
	indent, ok := r.next()
	if !ok || indent != 0 {
		return value{}, false
	}
	v, ok := r.block(0, 0)
	return v, ok && r.n == len(lines)
}

func control(c rune) bool { return c < ' ' || c == 0x7f }

// next moves to a line with something on it and returns its indent, or false at
// the end of the file.
func (r *plainReader) next() (int, bool) {
	for ; r.n < len(r.lines); r.n++ {
		line := r.lines[r.n]
		i := spaces(line, 0)
		if i < len(line) && line[i] != '#' {
			return i, true
		}
	}
	return 0, false
}

// spaces is the index of what is no space, from i on.
func spaces(line string, i int) int {
	for i < len(line) && line[i] == ' ' {
		i++
	}
	return i
}

func (r *plainReader) at(i, width int) pos {
	return r.src.at(r.n+1, i+1, width)
}

// block reads a map whose keys are indented by indent.
func (r *plainReader) block(indent, depth int) (value, bool) {
	v := value{shape: isMap, pairs: make([]pair, 0, usualPairs)}
	var seen keySet
	for {
		i, more := r.next()
		if !more || i < indent {
			break
		}
		line := r.lines[r.n]
		end := r.key(line, i)
		if i > indent || end < 0 || depth > maxNesting/2 {
			return v, false
		}
		p := pair{key: r.name(line[i:end]), at: r.at(i, end-i)}
		if seen.has(v.pairs, p.key) {
			return v, false
		}
		ok := false
		if p.val, ok = r.afterKey(line, end+1, indent, depth); !ok {
			return v, false
		}
		if p.val.shape == isNull {
			p.val.at = p.at
		}
		v.pairs = append(v.pairs, p)
	}
	if len(v.pairs) == 0 {
		return v, false
	}
	v.at = v.pairs[0].at
	return v, true
}

// afterKey reads what stands behind a key's colon: on its line, or below it.
func (r *plainReader) afterKey(line string, i, indent, depth int) (value, bool) {
	if i < len(line) && line[i] != ' ' {
		return value{}, false
	}
	if i = spaces(line, i); i < len(line) && line[i] != '#' {
		v, end, ok := r.inline(line, i, false, depth+1)
		r.n++
		return v, ok && ends(line, end)
	}
	r.n++
	below, more := r.next()
	switch {
	case !more || below < indent:
		return value{}, true
	case strings.HasPrefix(r.lines[r.n][below:], "- "):
		return r.list(below, depth+1)
	case below == indent:
		return value{}, true
	}
	return r.block(below, depth+1)
}

// ends reports whether nothing but a comment follows.
func ends(line string, i int) bool {
	rest := spaces(line, i)
	return rest == len(line) || rest > i && line[rest] == '#'
}

// list reads items that begin with a dash, each on one line.
func (r *plainReader) list(indent, depth int) (value, bool) {
	v := value{at: r.at(indent, 1), shape: isList}
	for {
		i, more := r.next()
		if !more || i < indent {
			return v, true
		}
		line := r.lines[r.n]
		if i == indent && line[i] != '-' {
			return v, true // the next key, of a list that is not indented
		}
		if i > indent || !strings.HasPrefix(line[i:], "- ") {
			return v, false
		}
		item, end, ok := r.inline(line, spaces(line, i+1), false, depth+1)
		if !ok || !ends(line, end) {
			return v, false
		}
		v.items = append(v.items, item)
		r.n++
	}
}

// inline reads a value that ends on its line, and returns where. Flow says that
// it stands in brackets.
func (r *plainReader) inline(line string, i int, flow bool, depth int) (value, int, bool) {
	if i >= len(line) || depth > maxNesting/2 {
		return value{}, i, false
	}
	switch line[i] {
	case '{':
		return r.flowMap(line, i, depth)
	case '[':
		return r.flowList(line, i, depth)
	case '"', '\'':
		return r.quoted(line, i)
	}
	end := i
	for end < len(line) && (wordByte(line[end]) || line[end] == ':' && !flow) {
		end++
	}
	v := value{at: r.at(i, end-i)}
	ok := v.classify(line[i:end])
	return v, end, ok
}

func (r *plainReader) flowMap(line string, i, depth int) (value, int, bool) {
	v := value{at: r.at(i, 1), shape: isMap}
	if i = spaces(line, i+1); i < len(line) && line[i] == '}' {
		return v, i + 1, true
	}
	v.pairs = make([]pair, 0, usualPairs)
	var seen keySet
	for ; ; i = spaces(line, i+1) {
		end := r.key(line, i)
		if end < 0 || end+1 >= len(line) || line[end+1] != ' ' {
			return v, i, false
		}
		p := pair{key: r.name(line[i:end]), at: r.at(i, end-i)}
		if seen.has(v.pairs, p.key) {
			return v, i, false
		}
		ok := false
		if p.val, i, ok = r.inline(line, spaces(line, end+1), true, depth+1); !ok {
			return v, i, false
		}
		v.pairs = append(v.pairs, p)
		v.at = v.pairs[0].at
		if i = spaces(line, i); i >= len(line) || line[i] != ',' && line[i] != '}' {
			return v, i, false
		}
		if line[i] == '}' {
			return v, i + 1, true
		}
	}
}

func (r *plainReader) flowList(line string, i, depth int) (value, int, bool) {
	v := value{at: r.at(i, 1), shape: isList}
	for i = spaces(line, i+1); ; i = spaces(line, i+1) {
		if i < len(line) && line[i] == ']' && len(v.items) == 0 {
			return v, i + 1, true
		}
		item, end, ok := r.inline(line, i, true, depth+1)
		if i = spaces(line, end); !ok || i >= len(line) || line[i] != ',' && line[i] != ']' {
			return v, i, false
		}
		v.items = append(v.items, item)
		if line[i] == ']' {
			return v, i + 1, true
		}
	}
}

// quoted reads text in quotes that has no escape and no control character.
func (r *plainReader) quoted(line string, i int) (value, int, bool) {
	quote := line[i]
	for end := i + 1; end < len(line); end++ {
		switch c := line[end]; {
		case c == quote:
			twice := end+1 < len(line) && line[end+1] == quote
			return value{at: r.at(i, end+1-i), shape: isText, text: strings.Clone(line[i+1 : end])}, end + 1, !twice
		case c < ' ' || c > '~' || c == '\\':
			return value{}, end, false
		}
	}
	return value{}, i, false
}

// key is where the key at i ends, before its colon; -1 if it is not a plain one.
func (r *plainReader) key(line string, i int) int {
	end := i
	for end < len(line) && (line[end] >= 'a' && line[end] <= 'z' || end > i && (line[end] == '_' || line[end] == '-' || line[end] >= '0' && line[end] <= '9')) {
		end++
	}
	if end == i || end == len(line) || line[end] != ':' || special(line[i:end]) {
		return -1
	}
	return end
}

// name is the key as a string of its own, the same one for all keys of a name:
// a part of the line would keep the whole file in memory.
func (r *plainReader) name(s string) string {
	if n, ok := r.names[s]; ok {
		return n
	}
	n := strings.Clone(s)
	r.names[n] = n
	return n
}
