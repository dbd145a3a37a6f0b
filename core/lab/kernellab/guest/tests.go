// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/steelyard-lb/steelyard/core/lab/kernellab"
)

// runTests runs every test binary /lab/tests/PACKAGE/test, in its folder: that
// is where its testdata is.
func runTests(out *results, j job) error {
	bins, err := filepath.Glob("/lab/tests/*/*/test")
	if err != nil {
		return err
	}
	if len(bins) == 0 {
		return errors.New("no test binary in the image")
	}
	var errs []error
	for _, bin := range bins {
		pkg := strings.TrimPrefix(filepath.Dir(bin), "/lab/tests/")
		if err := runTest(out, j, bin, pkg); err != nil {
			errs = append(errs, fmt.Errorf("tests of %s: %w", pkg, err))
		}
	}
	return errors.Join(errs...)
}

func runTest(out *results, j job, bin, pkg string) error {
	fmt.Printf("guest: testing %s\n", pkg)
	cmd := exec.Command(bin, "-test.v", "-test.timeout=8m", fmt.Sprintf("-test.short=%t", j.short), "-test.run="+j.run)
	cmd.Dir = filepath.Dir(bin)
	pipe, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer pipe.Close()
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	var p testParser
	scan := bufio.NewScanner(pipe)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		fmt.Println(scan.Text())
		if res, ok := p.line(scan.Text()); ok {
			res.Package = pkg
			if err := out.add(res); err != nil {
				return err
			}
		}
	}
	return errors.Join(scan.Err(), cmd.Wait())
}

// A testParser finds the outcomes of top-level tests in what `test -v` prints.
type testParser struct {
	output strings.Builder // of the test that runs
}

// keep bounds how much of a test's output is kept, in bytes.
const keep = 8 << 10

func (p *testParser) line(s string) (kernellab.Result, bool) {
	if strings.HasPrefix(s, "=== RUN ") && !strings.Contains(s, "/") {
		p.output.Reset()
	}
	for _, outcome := range []string{"PASS", "FAIL", "SKIP"} {
		rest, ok := strings.CutPrefix(s, "--- "+outcome+": ")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, " ")
		res := kernellab.Result{Test: name, Outcome: outcome}
		if outcome != "PASS" {
			res.Output = p.output.String()
		}
		return res, true
	}
	if p.output.Len() < keep {
		p.output.WriteString(s + "\n")
	}
	return kernellab.Result{}, false
}
