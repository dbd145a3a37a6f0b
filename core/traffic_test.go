// SPDX-License-Identifier: Apache-2.0

package core

import "testing"

func TestQoSString(t *testing.T) {
	dscp, class := uint8(46), uint32(0x1_0020)
	for want, q := range map[string]QoS{
		"":                                    {},
		"dscp 46":                             {DSCP: &dscp},
		"class 1:20":                          {Priority: &class},
		"mark 0x0/0xf0":                       {Mask: 0xf0},
		"dscp 46, class 1:20, mark 0x10/0xf0": {DSCP: &dscp, Priority: &class, Mark: 0x10, Mask: 0xf0},
	} {
		if got := q.String(); got != want || q.Active() != (want != "") {
			t.Errorf("%+v is %q, active %v: want %q", q, got, q.Active(), want)
		}
	}
}
