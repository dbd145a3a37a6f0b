// SPDX-License-Identifier: Apache-2.0

package core

// CutShort reports whether the step limit has cut a decision short, so that the
// next one has a move to finish.
func CutShort(shaped []Shaped) bool {
	for i := range shaped {
		for _, st := range shaped[i].Steps {
			if st.Name == "step" {
				return true
			}
		}
	}
	return false
}

// NextPace is how the next opinions of a policy may move the shares: free of
// limits where an operator has asked for new weights, to the end where the
// decision before was cut short.
func NextPace(free, cutShort bool) Pace {
	switch {
	case free:
		return Free
	case cutShort:
		return Moving
	}
	return Steady
}
