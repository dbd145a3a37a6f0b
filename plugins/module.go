// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

// A module is a file of WASM or a Lua script; one module may hold several
// policies.
type module struct {
	code     []byte
	sum      string       // sha256, lower-case hex
	manifest abi.Manifest // set once it is loaded
}

func newModule(code []byte) *module {
	sum := sha256.Sum256(code)
	return &module{code: code, sum: hex.EncodeToString(sum[:])}
}

// language is how the module is run.
func (m *module) language() string {
	if wasm.IsModule(m.code) {
		return "wasm"
	}
	return "lua"
}

// readManifest takes what the worker read out of the module. A module that says
// nothing holds one policy without parameters and state.
func (m *module) readManifest(text []byte) error {
	if text == nil {
		m.manifest = abi.Manifest{ABI: abi.Major, Policies: []abi.PolicyInfo{{}}}
		return nil
	}
	var err error
	if m.manifest, err = abi.ParseManifest(text); err != nil {
		return fmt.Errorf("%w: %w", errManifest, err)
	}
	return nil
}

// errManifest says that a module was loaded and speaks nonsense about itself.
var errManifest = errors.New("its manifest is refused")

// entry finds the policy of the module that a name in the configuration means:
// the one called so, or the only one.
func (m *module) entry(name string) (int, error) {
	list := m.manifest.Policies
	i := slices.IndexFunc(list, func(p abi.PolicyInfo) bool { return p.Name == name })
	if i >= 0 {
		return i, nil
	}
	if len(list) == 1 {
		return 0, nil
	}
	var names []string
	for _, p := range list {
		names = append(names, p.Name)
	}
	return 0, fmt.Errorf("the module holds several policies; call it by one of their names: %s", strings.Join(names, ", "))
}

// readSpec reads the module of a policy and compares it with its pin.
func readSpec(spec core.PolicySpec) (*module, error) {
	code, err := []byte(spec.Lua), error(nil)
	if spec.Lua == "" {
		if code, err = readFile(spec.Path); err != nil {
			return nil, err
		}
	}
	m := newModule(code)
	if spec.SHA256 != "" && spec.SHA256 != m.sum {
		return nil, fmt.Errorf("%s has sha256 %s, the configuration wants %s; "+
			"if the new content is meant, write its sum into the configuration", where(spec), m.sum, spec.SHA256)
	}
	if filepath.Ext(spec.Path) == ".wasm" && !wasm.IsModule(code) {
		return nil, fmt.Errorf("%s is not a WASM module, although its name says so", spec.Path)
	}
	return m, nil
}

// where is the place of a policy's code, in words.
func where(spec core.PolicySpec) string {
	if spec.Lua != "" {
		return "the script in the configuration"
	}
	return spec.Path
}

// readFile reads a file, but no more of it than a module may have.
func readFile(path string) ([]byte, error) {
	// Without O_NONBLOCK a FIFO would hold up the reload until somebody writes.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w; build it first, or correct its path", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: it is no regular file; name the .wasm or .lua itself", path)
	}
	var b bytes.Buffer
	b.Grow(int(min(info.Size(), wasm.MaxModule)) + bytes.MinRead) // the code stays in memory: no more than it needs
	if _, err := io.Copy(&b, io.LimitReader(f, wasm.MaxModule+1)); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if b.Len() > wasm.MaxModule {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, wasm.MaxModule)
	}
	return b.Bytes(), nil
}
