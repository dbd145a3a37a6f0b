// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core/config"
)

var (
	mdLink = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	mdFunc = regexp.MustCompile("`([a-z0-9/]+\\.go):([A-Za-z]+)`")
	mdYAML = regexp.MustCompile("(?s)```yaml\n(.*?)```")
)

// documents are all the Markdown files of the project.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../examples/*/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			docs[f] = string(text)
		}
	}
	return docs
}

// What the documents point at is there: files, and functions in files.
func TestDocumentsPointAtThings(t *testing.T) {
	for name, text := range documents(t) {
		for _, m := range mdLink.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			}
		}
		for _, m := range mdFunc.FindAllStringSubmatch(text, -1) {
			code, err := os.ReadFile(filepath.Join("../..", m[1]))
			if err != nil || !regexp.MustCompile(`(?m)^func (\([^)]*\) )?`+m[2]+`\(`).Match(code) {
				t.Errorf("%s speaks of %s in %s, which is not there (%v)", name, m[2], m[1], err)
			}
		}
	}
}

// The configuration that the README begins with is a whole one, and valid.
func TestREADMEConfiguration(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := mdYAML.FindSubmatch(text)
	if block == nil {
		t.Fatal("README.md has no YAML")
	}
	yaml := strings.Replace(string(block[1]), "community_file: /etc/steelyard/community", "community: public", 1)
	_, err = config.Load(config.Options{
		Path: "readme.yaml", Hostname: "lb1", ShippedPolicies: shippedParams(),
		ReadFile: func(string) ([]byte, error) { return []byte(yaml), nil },
		ReadDir:  func(string) ([]string, error) { return nil, os.ErrNotExist },
	})
	if err != nil {
		t.Errorf("the README's configuration: %v", err)
	}
}
