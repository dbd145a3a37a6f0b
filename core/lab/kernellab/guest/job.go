// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// A job is what the kernel's command line asks for.
type job struct {
	do       string
	services []int // ascending
	reps     int
	only     *regexp.Regexp
	short    bool   // tests
	run      string // which tests, as of `go test -run`; empty for all
}

func readJob() (job, error) {
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return job{}, err
	}
	return parseJob(string(b))
}

func parseJob(cmdline string) (job, error) {
	j := job{services: []int{1}, reps: 5, only: regexp.MustCompile("")}
	for _, word := range strings.Fields(cmdline) {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "lab.do":
			j.do = value
		case "lab.services":
			j.services, err = parseInts(value)
		case "lab.reps":
			j.reps, err = strconv.Atoi(value)
		case "lab.only":
			j.only, err = regexp.Compile(value)
		case "lab.run":
			j.run = value
		case "lab.short":
			j.short, err = strconv.ParseBool(value)
		}
		if err != nil {
			return job{}, fmt.Errorf("%s: %w", word, err)
		}
	}
	if j.reps < 1 {
		return job{}, fmt.Errorf("lab.reps=%d: want at least 1", j.reps)
	}
	return j, nil
}

func parseInts(list string) ([]int, error) {
	var ints []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil {
			return nil, err
		}
		if n < 1 || n > maxServices {
			return nil, fmt.Errorf("%d services: want 1 to %d", n, maxServices)
		}
		ints = append(ints, n)
	}
	return ints, nil
}
