// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// policyLook is how often run --watch looks at the files of policies.
const policyLook = 500 * time.Millisecond

// A fileMark tells one content of a file from another as far as stat(2) does. A
// file that an editor has put in another's place has another inode.
type fileMark struct {
	modified time.Time
	size     int64
	inode    uint64
	there    bool
}

func markOf(path string) fileMark {
	info, err := os.Stat(path)
	if err != nil {
		return fileMark{}
	}
	m := fileMark{modified: info.ModTime(), size: info.Size(), there: true}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		m.inode = st.Ino
	}
	return m
}

// policyFiles says which of the users' policies have other files than when they
// were loaded. One goroutine uses it.
type policyFiles struct {
	files []policyFile
	mark  func(path string) fileMark
}

type policyFile struct {
	name, path   string
	known, fresh fileMark // that was told of last, and that the latest look found
}

func newPolicyFiles(mark func(string) fileMark, policies []core.PolicySpec) *policyFiles {
	f := &policyFiles{mark: mark}
	for _, p := range policies {
		if p.Path != "" {
			m := mark(p.Path)
			f.files = append(f.files, policyFile{name: p.Name, path: p.Path, known: m, fresh: m})
		}
	}
	return f
}

// changed looks at all files and names the policies whose file is another than was
// told of last, and the same as at the look before: one that is just being written
// is left for the next look.
func (f *policyFiles) changed() []string {
	var names []string
	for i := range f.files {
		p := &f.files[i]
		was := p.fresh
		p.fresh = f.mark(p.path)
		if p.fresh != p.known && p.fresh == was {
			p.known = p.fresh
			names = append(names, p.name)
		}
	}
	return slices.Compact(names)
}
