// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/lab/kernellab"
)

// results writes to the second serial port, one JSON object per line.
type results struct {
	port   *os.File
	kernel string
}

func openResults() (*results, error) {
	f, err := os.OpenFile("/dev/ttyS1", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the port for results: %w", err)
	}
	return &results{f, kernelRelease()}, nil
}

func (r *results) add(res kernellab.Result) error {
	res.Kernel = r.kernel
	b, err := json.Marshal(res)
	if err == nil {
		_, err = r.port.Write(append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// verdict ends the run: with "ok" if err is nil.
func (r *results) verdict(err error) error {
	res := kernellab.Result{Verdict: "ok"}
	if err != nil {
		res = kernellab.Result{Verdict: "failed", Error: err.Error()}
		fmt.Println("guest: failed:", err)
	}
	return r.add(res)
}
