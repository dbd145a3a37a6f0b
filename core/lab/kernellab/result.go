// SPDX-License-Identifier: Apache-2.0

package kernellab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A Result is one line of what the guest writes to its second serial port, as
// JSON: one count, one test, or the verdict that ends the run.
type Result struct {
	Kernel string `json:"kernel,omitempty"`

	// Of a count: what was measured, and the instructions per packet of every
	// repetition in the order in which they were made.
	Case     string    `json:"case,omitempty"`
	Traffic  Traffic   `json:"traffic,omitempty"`
	Services int       `json:"services,omitempty"`
	Packets  int       `json:"packets,omitempty"` // per repetition
	Counts   []float64 `json:"counts,omitempty"`

	// Of a test: its package and name, and what it printed if it did not pass.
	Package string `json:"package,omitempty"`
	Test    string `json:"test,omitempty"`
	Outcome string `json:"outcome,omitempty"` // PASS, FAIL or SKIP
	Output  string `json:"output,omitempty"`

	// Verdict is "ok" or "failed" in the last line, and nothing elsewhere.
	Verdict string `json:"verdict,omitempty"`
	// Error says what could not be measured, or why the run failed.
	Error string `json:"error,omitempty"`
}

// Traffic is the kind of packets that a count is about.
type Traffic string

// The kinds of traffic.
const (
	// New is UDP packets each of which opens a connection of its own, spread
	// evenly over the services.
	New Traffic = "new"
	// Established is UDP packets of one connection that was answered before.
	Established Traffic = "established"
)

// ReadResults reads result lines. Lines that are no JSON are left out: a
// kernel's last words go where they like. A missing or a bad verdict is an
// error, given along with the results.
func ReadResults(r io.Reader) ([]Result, error) {
	var list []Result
	verdict := errors.New("the guest ended without a verdict: see its log")
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		line := strings.TrimSpace(scan.Text())
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var res Result
		if err := json.Unmarshal([]byte(line), &res); err != nil {
			return list, fmt.Errorf("read result %.80q: %w", line, err)
		}
		switch res.Verdict {
		case "":
			list = append(list, res)
		case "ok":
			verdict = nil
		default:
			verdict = fmt.Errorf("the guest's verdict is %s: %s", res.Verdict, res.Error)
		}
	}
	return list, errors.Join(scan.Err(), verdict)
}
