// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	beginMark = "<!-- peers:begin -->"
	endMark   = "<!-- peers:end -->"
)

// A report is what was measured, as Markdown.
type report struct {
	machine string
	tables  []table
}

type table struct {
	title, intro string
	head         []string
	rows         [][]string
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

func (r *report) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## Beside its peers\n\n`make bench-peers`. %s\n", r.machine)
	for _, t := range r.tables {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n", t.title, t.intro)
		fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(t.head, " | "), strings.Repeat("---|", len(t.head)))
		for _, row := range t.rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
	}
	return b.String()
}

// writeBlock replaces what is between the marks of a file, and leaves the rest.
func writeBlock(path, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	page, err := replaceBlock(old, text)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.WriteFile(path, page, 0o644)
}

func replaceBlock(page []byte, text string) ([]byte, error) {
	before, rest, ok := bytes.Cut(page, []byte(beginMark))
	if !ok {
		return append(bytes.TrimRight(page, "\n"), "\n\n"+beginMark+"\n"+text+endMark+"\n"...), nil
	}
	_, after, ok := bytes.Cut(rest, []byte(endMark))
	if !ok {
		return nil, errors.New("the block begins and does not end: put " + endMark + " after it")
	}
	return slices.Concat(before, []byte(beginMark+"\n"+text+endMark), after), nil
}

// machine says where and with what it was measured.
func machine(runs int) string {
	var u unix.Utsname
	_ = unix.Uname(&u) // it cannot fail
	model := "unknown processor"
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(raw), "model name\t: "); ok {
			model, _, _ = strings.Cut(rest, "\n")
		}
	}
	return fmt.Sprintf("Machine: %d cores of %s, shared with others, Linux %s, %s, nftlb %s, haproxy %s, %s. Pairs in turn, medians of %d runs.",
		runtime.NumCPU(), model, unix.ByteSliceToString(u.Release[:]), runtime.Version(),
		packageVersion("nftlb"), packageVersion("haproxy"), time.Now().UTC().Format(time.DateOnly), runs)
}

func packageVersion(name string) string {
	out, err := exec.Command("dpkg-query", "-W", "-f=${Version}", name).Output()
	if err != nil {
		return "of unknown version"
	}
	return string(out)
}

// quantile is of at least one value; it sorts them.
func quantile[T ~int64 | ~float64](list []T, q float64) T {
	slices.Sort(list)
	return list[min(int(float64(len(list))*q), len(list)-1)]
}

func ms(d time.Duration) string {
	switch v := float64(d) / float64(time.Millisecond); {
	case v < 10:
		return fmt.Sprintf("%.2f ms", v)
	case v < 1000:
		return fmt.Sprintf("%.0f ms", v)
	default:
		return fmt.Sprintf("%.2f s", v/1000)
	}
}

func ratio(ours, theirs float64) string {
	if theirs == 0 {
		return "–"
	}
	if r := ours / theirs; r < 0.1 {
		return fmt.Sprintf("%.4f", r)
	}
	return fmt.Sprintf("%.2f", ours/theirs)
}
