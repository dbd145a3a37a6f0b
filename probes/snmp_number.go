// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/gosnmp/gosnmp"
)

// maxNumberText is how much of a text may be a number.
const maxNumberText = 64

// numberOf reads a number of any SNMP type: integers, the floating point numbers
// that net-snmp wraps as Opaque, and texts that are a number, as laLoad is.
func numberOf(v gosnmp.SnmpPDU) (float64, error) {
	var n float64
	switch x := v.Value.(type) {
	case int:
		n = float64(x)
	case uint:
		n = float64(x)
	case uint32:
		n = float64(x)
	case uint64:
		n = float64(x)
	case float32:
		n = float64(x)
	case float64:
		n = x
	case []byte:
		var err error
		text := strings.TrimSpace(string(x[:min(len(x), maxNumberText)]))
		if n, err = strconv.ParseFloat(text, 64); err != nil {
			return 0, fmt.Errorf("%s is the text %.20q, not a number", v.Name, text)
		}
	default:
		return 0, fmt.Errorf("%s is a %s, not a number", v.Name, v.Type)
	}
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return 0, fmt.Errorf("%s is not a finite number", v.Name)
	}
	return n, nil
}

// wrapOf is the modulus of a counter of that type, 0 for what does not wrap.
func wrapOf(v gosnmp.SnmpPDU) float64 {
	if v.Type == gosnmp.Counter32 || v.Type == gosnmp.TimeTicks {
		return wrap32
	}
	return 0 // Counter64 would take centuries
}
