// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/steelyard-lb/steelyard/core/lab/kernellab"
)

// read reads result files, one after the other. The results of a file without a
// good verdict are given with an error.
func read(files []string) ([]kernellab.Result, error) {
	var all []kernellab.Result
	var errs []error
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		list, err := kernellab.ReadResults(f)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		all = append(all, list...)
		f.Close()
	}
	return all, errors.Join(errs...)
}

// report prints the results, good and bad, and returns an error for a bad verdict.
func report(files []string) error {
	results, err := read(files)
	return errors.Join(kernellab.Print(os.Stdout, results), err)
}

// docs writes the counts into a page. It writes nothing if one is missing: a
// table with holes would look like a finished one.
func docs(page string, files []string) error {
	results, err := read(files)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	out, err := kernellab.Splice(string(text), kernellab.Markdown(results))
	if err != nil {
		return fmt.Errorf("write tables into %s: %w", page, err)
	}
	return os.WriteFile(page, []byte(out), 0o644)
}
