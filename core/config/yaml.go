// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The bounds of a file. They are far above any real configuration (10,000
// services of 16 backends are 9 MB) and keep a broken or hostile file from
// taking the memory or, by nesting, the stack.
const (
	maxFile    = 64 << 20
	maxLine    = 4096
	maxNesting = 64
	maxAliased = 100_000 // nodes that aliases add: a few lines can name billions

	// Of YAML that is not plain the parser takes seconds and hundreds of bytes for each
	// byte, and a time that grows with the square of how many keys a map has.
	maxBeside     = 20_000
	maxPushedFree = 4 << 20 // of a layer that somebody else has written
)

const plainHint = "maps and lists by indent, without block scalars, escapes and spaces at the end of lines, are read fast; a policy may be a file"

// parseYAML reads one file into a value; of one that is not plain mostFree bytes at the
// most. It reports false after noting why the file is no YAML.
func parseYAML(ps *problems, file string, layer int, data []byte, mostFree int) (value, bool) {
	r := newYAMLReader(ps, file, layer, data)
	if !r.bounded(data) {
		return value{}, false
	}
	if v, ok := parsePlain(r.src, ps.lines[file]); ok {
		return v, true
	}
	if len(data) > mostFree {
		ps.add(r.src.at(0, 1, 1), "", plainHint, "the file has more than %d MB of YAML that is read slowly", mostFree>>20)
		return value{}, false
	}
	return r.parse(data)
}

func newYAMLReader(ps *problems, file string, layer int, data []byte) *yamlReader {
	ps.lines[file] = strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
	return &yamlReader{ps: ps, src: &source{layer, file}, anchors: map[string]ast.Node{}}
}

// parse reads a file with the parser that knows all of YAML.
func (r *yamlReader) parse(data []byte) (value, bool) {
	tree, err := parse(data)
	if many := (*crowdedError)(nil); errors.As(err, &many) {
		r.ps.add(r.where(many.at), "", plainHint, "%v", err)
		return value{}, false
	}
	if err != nil {
		r.syntax(err)
		return value{}, false
	}
	var body ast.Node
	for _, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			r.ps.add(r.where(doc.Body.GetToken()), "", "put it into a file of its own in conf.d", "a second document in one file")
			return value{}, false
		}
		body = doc.Body
	}
	if body == nil {
		return value{at: pos{src: r.src}, shape: isMap}, true
	}
	before := len(r.ps.list)
	v := r.read(body, 0)
	return v, len(r.ps.list) == before
}

// parse is the parser with its panics turned into errors: they are bugs of the
// parser, met only on files that are no YAML.
func parse(data []byte) (tree *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			tree, err = nil, fmt.Errorf("the YAML parser gave up: %v", p)
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if t := crowded(tokens); t != nil {
		return nil, &crowdedError{t}
	}
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// A crowdedError says where a file has more keys side by side than the parser is given.
type crowdedError struct{ at *token.Token }

func (*crowdedError) Error() string {
	return fmt.Sprintf("more than %d lines side by side, in a file with YAML that is read slowly", maxBeside)
}

// crowded is the token at which one map may have more than maxBeside keys; nil if there is
// none. The parser calls itself for each key of a map, and copies all that are behind it.
// It counts lines that begin at one column, whatever is in them, and what is within
// brackets regardless of lines.
func crowded(tokens token.Tokens) *token.Token {
	beside := map[int]int{} // by column
	line, brackets, within := 0, 0, 0
	for _, t := range tokens {
		column, begins := t.Position.Column, t.Position.Line != line
		line = t.Position.Line
		switch t.Type {
		case token.CommentType:
			continue
		case token.MappingStartType, token.SequenceStartType:
			brackets++
		case token.MappingEndType, token.SequenceEndType:
			if brackets = max(0, brackets-1); brackets == 0 {
				within = 0
			}
			continue
		case token.MappingValueType:
			if within++; brackets == 0 {
				within = 0
			}
		}
		if begins && brackets == 0 {
			maps.DeleteFunc(beside, func(c, _ int) bool { return c > column })
			if t.Type != token.SequenceEntryType {
				beside[column]++
			}
		}
		if within > maxBeside || beside[column] > maxBeside {
			return t
		}
	}
	return nil
}

type yamlReader struct {
	ps      *problems
	src     *source
	inAlias int  // aliases that are being followed now
	aliased int  // nodes read in them
	full    bool // a bound was met, and is noted
	anchors map[string]ast.Node
}

// bounded refuses what the parser, which recurses, must not see.
func (r *yamlReader) bounded(data []byte) bool {
	refuse := func(line int, format string, args ...any) bool {
		r.ps.add(r.src.at(line, 1, 1), "", "", format, args...)
		return false
	}
	if len(data) > maxFile {
		return refuse(0, "the file has more than %d MB", maxFile>>20)
	}
	if !utf8.Valid(data) {
		return refuse(0, "the file is not UTF-8 text")
	}
	open := 0
	for i, line := range r.ps.lines[r.src.file] {
		if len(line) > maxLine {
			return refuse(i+1, "the line has more than %d bytes", maxLine)
		}
		lead := strings.TrimLeft(line, " -?:\t")
		open += strings.Count(line, "[") + strings.Count(line, "{") - strings.Count(line, "]") - strings.Count(line, "}")
		if open > maxNesting || len(line)-len(lead) > 4*maxNesting {
			return refuse(i+1, "nested deeper than %d levels", maxNesting)
		}
		open = max(open, 0)
	}
	return true
}

// syntax notes an error of the parser, without what it quotes of the file: that
// may be a secret.
func (r *yamlReader) syntax(err error) {
	at := pos{src: r.src}
	var se *yaml.SyntaxError
	if !errors.As(err, &se) {
		r.ps.add(at, "", "", "not YAML: %v", err)
		return
	}
	if se.Token != nil && se.Token.Position != nil {
		at = r.src.at(se.Token.Position.Line, max(se.Token.Position.Column, 1), 1)
	}
	hint := ""
	if lines := r.ps.lines[r.src.file]; at.line > 0 && int(at.line) <= len(lines) && strings.Contains(lines[at.line-1], "\t") {
		hint = "YAML indents with spaces, never with tabs"
	}
	message, _, _ := strings.Cut(se.Message, `"`)
	r.ps.add(at, "", hint, "not YAML: %s", strings.TrimRight(message, ": "))
}

// where is the place of a token.
func (r *yamlReader) where(t *token.Token) pos {
	if t == nil || t.Position == nil {
		return r.src.at(1, 1, 1)
	}
	return r.src.at(max(t.Position.Line, 1), max(t.Position.Column, 1), max(utf8.RuneCountInString(strings.TrimSpace(t.Origin)), 1))
}

func (r *yamlReader) fail(n ast.Node, format string, args ...any) value {
	at := r.where(n.GetToken())
	r.ps.add(at, "", "", format, args...)
	return value{at: at}
}

// read turns a node into a value. Depth counts nesting, aliases included.
func (r *yamlReader) read(n ast.Node, depth int) value {
	if r.inAlias > 0 {
		r.aliased++
	}
	if r.aliased > maxAliased || depth > maxNesting {
		if !r.full {
			r.full = true
			return r.fail(n, "too large or too deep when its aliases are followed")
		}
		return value{at: r.where(n.GetToken())}
	}
	switch n := n.(type) {
	case *ast.AnchorNode:
		// Noted after its value is read, so that no alias can lead into itself.
		v := r.read(n.Value, depth+1)
		r.anchors[n.Name.GetToken().Value] = n.Value
		return v
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		target, ok := r.anchors[name]
		if !ok {
			return r.fail(n, "an alias to nothing: text that begins with * must be in quotes")
		}
		r.inAlias++
		defer func() { r.inAlias-- }()
		return r.read(target, depth+1)
	case *ast.TagNode:
		return r.fail(n, "tags are not used here: text that begins with ! must be in quotes")
	case *ast.MappingNode:
		return r.mapping(n, n.Values, depth)
	case *ast.MappingValueNode:
		return r.mapping(n, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		v := value{at: r.where(n.GetToken()), shape: isList}
		for _, item := range n.Values {
			v.items = append(v.items, r.read(item, depth+1))
		}
		return v
	}
	return r.scalar(n)
}

func (r *yamlReader) mapping(n ast.Node, values []*ast.MappingValueNode, depth int) value {
	v := value{at: r.where(n.GetToken()), shape: isMap}
	seen := map[string]pos{}
	for _, mv := range values {
		if _, ok := mv.Key.(*ast.MergeKeyNode); ok {
			r.fail(mv.Key, "merge keys (<<) are not used here; conf.d and defaults do their work")
			continue
		}
		tok := mv.Key.GetToken()
		p := pair{key: tok.Value, at: r.where(tok)}
		if first, dup := seen[p.key]; dup {
			r.ps.add(p.at, keyName(p.key), "", "key %q stands here a second time; the first is in line %d", keyName(p.key), first.line)
			continue
		}
		seen[p.key] = p.at
		if mv.Value != nil {
			p.val = r.read(mv.Value, depth+1)
		}
		if p.val.shape == isNull {
			p.val = value{at: p.at} // nothing is where its key is
		}
		v.pairs = append(v.pairs, p)
	}
	if len(v.pairs) > 0 {
		v.at = v.pairs[0].at
	}
	return v
}

func (r *yamlReader) scalar(n ast.Node) value {
	v := value{at: r.where(n.GetToken())}
	if t := n.GetToken(); t != nil {
		v.text = t.Value
	}
	switch n := n.(type) {
	case *ast.NullNode:
		v.shape = isNull
	case *ast.StringNode:
		v.shape, v.text = isText, n.Value
	case *ast.LiteralNode:
		v.shape, v.text = isText, n.Value.Value
	case *ast.BoolNode:
		v.shape = isBool
	case *ast.IntegerNode:
		v.shape, v.text = isInt, fmt.Sprint(n.Value)
	case *ast.FloatNode:
		v.shape, v.text = isFloat, strconv.FormatFloat(n.Value, 'g', -1, 64)
	case *ast.InfinityNode, *ast.NanNode:
		v.shape, v.text = isFloat, strconv.FormatFloat(math.NaN(), 'g', -1, 64)
	default:
		return r.fail(n, "a %s cannot stand here", strings.ToLower(n.Type().String()))
	}
	return v
}
