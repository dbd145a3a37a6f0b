// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxClients bounds an allow or a deny after its overlaps are gone: the
	// kernel keeps two elements of some 200 bytes for each.
	maxClients = 250_000
	// maxListProblems is how many lines of one file are complained about; a file
	// of another kind has as many mistakes as lines.
	maxListProblems = 20
)

// clients are the prefixes of a list and of a file, sorted, none in another.
func (s *build) clients(key string, list []string, file string) []netip.Prefix {
	out := s.prefixes(s.at(key), list)
	if file != "" {
		at := s.at(key + "_file")
		more := s.listFile(at, s.resolve(at, file))
		if len(out) == 0 {
			out = more // shared by all services that name the file
		} else if len(more) > 0 {
			out = collapse(append(out, more...))
		}
	}
	if len(out) > maxClients {
		s.builder.wrong(s.set(s.path, key, key+"_file"), "join neighbours into networks", "%s has %d prefixes, at most %d can be", key, len(out), maxClients)
		return nil
	}
	if key == "allow" && len(out) > 0 {
		s.checkAllow(out)
	}
	return out
}

// checkAllow: that a family has no prefix may mean nobody, or that it was
// forgotten. It must not mean everybody.
func (s *build) checkAllow(allow []netip.Prefix) {
	at := s.set(s.path, "allow", "allow_file")
	v4 := slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Addr().Is4() })
	v6 := slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Addr().Is6() })
	if s.v4 && !v4 {
		s.builder.wrong(at, "add a prefix, such as 0.0.0.0/0", "allow has no IPv4 prefix: no client could reach the IPv4 VIP")
	}
	if s.v6 && !v6 {
		s.builder.wrong(at, "add a prefix, such as ::/0", "allow has no IPv6 prefix: no client could reach the IPv6 VIP")
	}
}

// prefixes parses a list, sorted and none in another; nil if it is empty.
func (b *builder) prefixes(at string, list []string) []netip.Prefix {
	var out []netip.Prefix
	for i, text := range list {
		p, why, hint := prefix(text)
		if why != "" {
			b.wrong(b.item(at, i), hint, "%s", why)
			continue
		}
		out = append(out, p)
	}
	return collapse(out)
}

// collapse sorts prefixes, IPv4 first, and leaves out those inside others.
func collapse(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, netip.Prefix.Compare)
	kept := list[:0]
	for _, p := range list {
		if n := len(kept); n == 0 || !kept[n-1].Overlaps(p) {
			kept = append(kept, p)
		}
	}
	return slices.Clip(kept)
}

// listFile reads a file of prefixes, once per load. It returns none if anything
// in it is wrong.
func (b *builder) listFile(at, file string) []netip.Prefix {
	if out, ok := b.lists[file]; ok {
		return out
	}
	data, err := b.opts.ReadFile(file)
	if err != nil {
		b.wrong(at, fileHint(err), "read %s: %v", file, cause(err))
		return nil
	}
	out, ok := b.parseList(file, string(data), !b.wasPushed(at))
	if ok && len(out) == 0 && strings.HasSuffix(at, "allow_file") {
		b.wrong(at, "add a prefix, or leave allow_file out", "%s has no prefix, and an empty allow admits everybody", file)
	}
	b.lists[file] = out
	return out
}

// parseList reads prefixes, one a line. What is wrong is quoted where it may be shown: a
// file that pushed definitions name may be any.
func (b *builder) parseList(file, text string, shown bool) (out []netip.Prefix, ok bool) {
	if !utf8.ValidString(text) {
		b.ps.add(nowhere(b.layers, file), "", "", "the file is not UTF-8 text")
		return nil, false
	}
	src, line, wrong := &source{b.layers, file}, 0, 0
	for l := range strings.Lines(text) {
		line++
		word, _, _ := strings.Cut(l, "#")
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		p, why, hint := prefix(word)
		if why == "" {
			out = append(out, p)
			continue
		}
		if wrong++; wrong > maxListProblems {
			break
		}
		if !shown {
			why, hint = "this is no address and no prefix", ""
		} else if wrong == 1 {
			b.ps.lines[file] = strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
		}
		col := 1 + utf8.RuneCountInString(l[:strings.Index(l, word)])
		b.ps.add(src.at(line, col, utf8.RuneCountInString(word)), "", hint, "%s", why)
	}
	if wrong > 0 {
		return nil, false
	}
	return collapse(out), true
}
