// SPDX-License-Identifier: Apache-2.0

// Command host is the lab's part outside of the guest: it collects the kernel
// modules for the guest's image, and turns what the guest measured into tables.
//
//	host modules DIR OUT     copy the modules that the lab needs from DIR to OUT
//	host report FILE...      print the results in these files
//	host docs PAGE FILE...   write them as Markdown between the markers of PAGE
package main

import (
	"errors"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kernel-lab:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "modules":
		return copyModules(args[1], args[2])
	case len(args) >= 2 && args[0] == "report":
		return report(args[1:])
	case len(args) >= 3 && args[0] == "docs":
		return docs(args[1], args[2:])
	}
	return errors.New("usage: host modules DIR OUT | report FILES | docs PAGE FILES")
}
