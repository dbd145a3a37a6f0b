// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// goldenFile is the golden snapshot, as hex.Dump writes it.
const goldenFile = "plugins/abi/testdata/snapshot-v1.hex"

// files are what is written, by path from the repository's root. A function is
// given what the file has now, since of some files only a part is written.
var files = map[string]func(root, now string) (string, error){
	"plugins/abi/layout_gen.go":             whole(hostGo),
	"sdk/go/policy/layout_gen.go":           whole(sdkGo),
	"sdk/assemblyscript/assembly/layout.ts": whole(assemblyScript),
	"sdk/rust/src/layout.rs":                whole(rust),
	"sdk/c/steelyard.h": func(_, now string) (string, error) {
		return between(now, "/* layout: "+generated+" */\n", "/* end of layout */\n", cHeader())
	},
	"docs/abi.md": docs,
}

func whole(f func() string) func(string, string) (string, error) {
	return func(string, string) (string, error) { return f(), nil }
}

func docs(root, now string) (string, error) {
	golden, err := ReadGolden(filepath.Join(root, goldenFile))
	if err != nil {
		return "", err
	}
	for _, part := range []struct{ name, text string }{
		{"header", docTable(Header)}, {"backend", docTable(Backend)}, {"metric", docTable(Metric)},
		{"valid", docNumbers()}, {"golden", docDump(golden)},
	} {
		if now, err = between(now, "<!-- layout: "+part.name+" -->\n\n", "\n<!-- end -->\n", part.text); err != nil {
			return "", err
		}
	}
	return now, nil
}

// between puts text between two markers.
func between(now, begin, end, text string) (string, error) {
	head, rest, ok := strings.Cut(now, begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", fmt.Errorf("find %q … %q: not there", begin, end)
	}
	return head + begin + text + end + tail, nil
}

// Generate returns what each file should be, by path from the root of the
// repository, which is at root.
func Generate(root string) (map[string]string, error) {
	for _, s := range Structs {
		if err := s.Check(); err != nil {
			return nil, err
		}
	}
	out := map[string]string{}
	for path, f := range files {
		now, err := os.ReadFile(filepath.Join(root, path))
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		text, err := f(root, string(now))
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", path, err)
		}
		out[path] = text
	}
	return out, nil
}

// ReadGolden reads a file that hex.Dump wrote.
func ReadGolden(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []byte
	for line := range strings.Lines(string(text)) {
		digits, _, _ := strings.Cut(line[8:], "|")
		b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		out = append(out, b...)
	}
	return out, nil
}
