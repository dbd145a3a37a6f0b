// SPDX-License-Identifier: Apache-2.0

package sim

// Mean folds the outcomes of several seeds: all figures are means, but convergence,
// which is the slowest, and the series, which is the first.
func Mean(outcomes []Outcome) Outcome {
	var m Outcome
	slowest, never := 0.0, false
	n := float64(len(outcomes))
	for _, o := range outcomes {
		m.P50 += o.P50 / n
		m.P99 += o.P99 / n
		m.P999 += o.P999 / n
		m.Failed += o.Failed / n
		m.Imbalance += o.Imbalance / n
		m.Oscillation += o.Oscillation / n
		m.Moved += o.Moved / n
		m.Commits += o.Commits / n
		m.Requests += o.Requests
		if o.Convergence == nil {
			never = true
		} else {
			slowest = max(slowest, *o.Convergence)
		}
		if m.Series == nil {
			m.Series = o.Series
		}
	}
	if !never && len(outcomes) > 0 {
		m.Convergence = &slowest
	}
	return m
}
