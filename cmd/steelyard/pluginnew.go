// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/sdk"
)

const pluginNewLong = `Write the folder of a new policy: source, scenarios, README, Makefile, and the SDK,
so that it builds and tests without a download (AssemblyScript: but for the compiler,
which npm fetches). It begins as a policy that works; change it from there.

Nothing that exists is overwritten.`

func newPluginNewCommand(g *globals) *cobra.Command {
	var lang, dir string
	cmd := &cobra.Command{
		Use: "new NAME --lang go|c|assemblyscript|rust|lua", Short: "Write the folder of a new policy, in one of five languages",
		Long:              pluginNewLong,
		Example:           "  steelyard plugin new idle --lang go\n  steelyard plugin new idle --lang lua --dir /etc/steelyard/idle",
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(_ *cobra.Command, a []string) error {
			if dir == "" {
				dir = a[0]
			}
			return g.pluginNew(a[0], lang, dir)
		},
	}
	cmd.Flags().StringVar(&lang, "lang", "", "language: "+strings.Join(languageNames(), ", "))
	cmd.Flags().StringVar(&dir, "dir", "", "folder to write (default: NAME)")
	_ = cmd.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions(languageNames(), cobra.ShellCompDirectiveNoFileComp)) // it is there: made above
	_ = cmd.MarkFlagDirname("dir")                                                                                          // so is this
	return cmd
}

func languageNames() []string {
	var names []string
	for _, l := range languages {
		names = append(names, l.name)
	}
	return names
}

var policyName = regexp.MustCompile("^[a-z0-9][a-z0-9_-]{0,62}$")

func (g *globals) pluginNew(name, lang, dir string) error {
	i := slices.IndexFunc(languages, func(l language) bool { return l.name == lang })
	switch {
	case lang == "":
		return &codedError{exitUsage, errors.New("no language"), "--lang " + strings.Join(languageNames(), ", or --lang ")}
	case i < 0:
		return &codedError{exitUsage, fmt.Errorf("no language %q", lang), "there are " + strings.Join(languageNames(), ", ") + "; docs/abi.md is enough for another"}
	case !policyName.MatchString(name):
		return &codedError{exitUsage, fmt.Errorf("no name for a policy: %q", name), "want lower-case letters, digits, hyphens and underscores, at most 63"}
	case slices.Contains(shippedNames(), name):
		return &codedError{exitUsage, fmt.Errorf("steelyard ships a policy %s", name), "give yours another name"}
	}
	files, err := scaffold(name, dir, languages[i])
	if err != nil {
		return err
	}
	if err := writeNew(dir, files); err != nil {
		return err
	}
	here := shellWord(dir)
	fmt.Fprintf(g.stdout, "%s: a policy in %s; edit %s. Next:\n\n  cd %s\n  make\n  make test\n\nREADME.md there tells how to run it.\n",
		dir, languages[i].title, strings.ReplaceAll(languages[i].source, "NAME", name), here)
	return nil
}

// shellWord is a word for a shell, in quotes if it needs them.
func shellWord(s string) string {
	if strings.ContainsAny(s, " \t\n'\"\\$`&;|<>()*?[]#~!{}") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// templateValues are what the templates are filled with.
type templateValues struct {
	Name, Dir, Source, Output, Builds, Needs, ButFor, SDK, Make, Clean string
}

// scaffold are the files of a new policy, by their paths in the folder.
func scaffold(name, dir string, l language) (map[string][]byte, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	named := func(s string) string { return strings.ReplaceAll(s, "NAME", name) }
	v := templateValues{Name: name, Dir: abs, Source: named(l.source), Output: named(l.output), Builds: named(l.builds), Needs: l.needs,
		ButFor: l.butFor, SDK: l.sdk, Make: named(l.make), Clean: named(l.clean)}
	files := map[string][]byte{".gitignore": []byte(named("/NAME.wasm\n/node_modules/\n/target/\n*.rlib\n"))}
	for _, from := range []string{"template/common", "template/" + l.name} {
		err := walkFiles(from, func(file string, data []byte) error {
			file, ok := strings.CutSuffix(named(file), ".tmpl")
			if !ok {
				return nil
			}
			files[file], err = filled(file, data, v)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	for from, to := range l.copies {
		err := walkFiles(from, func(file string, data []byte) error {
			if !strings.HasSuffix(file, "_test.go") {
				files[path.Join(to, file)] = data
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// filled is a template with its values.
func filled(name string, text []byte, v templateValues) ([]byte, error) {
	t, err := template.New(name).Parse(string(text))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, v)
	return b.Bytes(), err
}

// walkFiles calls f for the files of a folder of the SDK.
func walkFiles(from string, f func(file string, data []byte) error) error {
	return fs.WalkDir(sdk.Files, from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := sdk.Files.ReadFile(p)
		if err != nil {
			return err
		}
		return f(strings.TrimPrefix(p, from+"/"), data)
	})
}

// writeNew writes files into a folder, all or, if one of them exists, none.
func writeNew(dir string, files map[string][]byte) error {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return &codedError{exitFailure, fmt.Errorf("%s exists", filepath.Join(dir, name)), "nothing was written: name another folder with --dir"}
		}
	}
	for _, name := range names {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}
