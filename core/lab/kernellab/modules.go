// SPDX-License-Identifier: Apache-2.0

package kernellab

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A ModuleTree finds the modules of one unpacked kernel package and what they
// need. It reads the modules themselves, for the package carries no modules.dep.
type ModuleTree struct {
	files map[string]string // by name with underscores; "dir/nf_nat.ko" or ".ko.xz"
	// depends tells what a module's file says it needs. A field for the tests.
	depends func(file string) ([]string, error)
}

// OpenModules lists the modules below dir, such as lib/modules/VERSION/kernel.
func OpenModules(dir string) (*ModuleTree, error) {
	t := &ModuleTree{files: map[string]string{}, depends: modinfoDepends}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if name, ok := moduleName(path); ok {
				t.files[name] = path
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list modules in %s: %w", dir, err)
	}
	return t, nil
}

// moduleName is how the kernel knows the module in that file.
func moduleName(path string) (string, bool) {
	base := strings.TrimSuffix(filepath.Base(path), ".xz")
	name, ok := strings.CutSuffix(base, ".ko")
	return strings.ReplaceAll(name, "-", "_"), ok
}

// Order returns the files of the wanted modules and of all that they need, each
// once and after what it needs itself. A name may end in "*"; one that matches
// no module is left out, because another kernel has it built in or has no such
// thing: what then fails to work says so itself.
func (t *ModuleTree) Order(wanted []string) ([]string, error) {
	var names, order []string
	for n := range t.files {
		names = append(names, n)
	}
	slices.Sort(names)
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		file, ok := t.files[name]
		if seen[name] || !ok {
			return nil
		}
		seen[name] = true
		needs, err := t.depends(file)
		if err != nil {
			return fmt.Errorf("read module %s: %w", file, err)
		}
		for _, n := range needs {
			if err := visit(n); err != nil {
				return err
			}
		}
		order = append(order, file)
		return nil
	}
	for _, w := range wanted {
		for _, n := range names {
			if ok, err := filepath.Match(w, n); err != nil {
				return nil, fmt.Errorf("module pattern %q: %w", w, err)
			} else if !ok {
				continue
			}
			if err := visit(n); err != nil {
				return nil, err
			}
		}
	}
	return order, nil
}

// modinfoDepends reads the field depends of a module, and those of its soft
// dependencies that come before it.
func modinfoDepends(file string) ([]string, error) {
	b, err := ReadModule(file)
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("no section .modinfo")
	}
	info, err := s.Data()
	if err != nil {
		return nil, err
	}
	return parseModinfo(info), nil
}

// parseModinfo takes the needed modules out of the NUL-separated KEY=VALUE list.
func parseModinfo(info []byte) []string {
	var needs []string
	for field := range strings.SplitSeq(string(info), "\x00") {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "depends":
			needs = append(needs, strings.FieldsFunc(value, func(r rune) bool { return r == ',' })...)
		case "softdep":
			if pre, ok := strings.CutPrefix(value, "pre: "); ok {
				needs = append(needs, strings.Fields(pre)...)
			}
		}
	}
	for i := range needs {
		needs[i] = strings.ReplaceAll(needs[i], "-", "_")
	}
	return needs
}

// ReadModule reads a module, unpacked if it is packed: Debian's newer kernels
// have them so, and the lab's guest has no xz.
func ReadModule(file string) ([]byte, error) {
	if !strings.HasSuffix(file, ".xz") {
		return os.ReadFile(file)
	}
	out, err := exec.Command("xz", "-dc", file).Output()
	if err != nil {
		return nil, fmt.Errorf("unpack with xz: %w", err)
	}
	return out, nil
}
