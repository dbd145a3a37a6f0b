// SPDX-License-Identifier: Apache-2.0

// Command gen writes the layout of the ABI into the SDKs and the docs. Run it
// from the repository's root, or with the path to it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/steelyard-lb/steelyard/plugins/abi/layout"
)

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := write(root); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func write(root string) error {
	files, err := layout.Generate(root)
	if err != nil {
		return err
	}
	for path, text := range files {
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
