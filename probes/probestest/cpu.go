// SPDX-License-Identifier: Apache-2.0

package probestest

import "github.com/gosnmp/gosnmp"

// CPU is a machine's CPU counters as UCD-SNMP-MIB shows them: ticks of 1/100 s
// since some start, summed over the cores; they wrap at 2³².
type CPU struct {
	User, Nice, System, Idle, Wait, Interrupt, SoftIRQ, Steal uint32

	Cores int // 0 hides ssCpuNumCpus
}

// A Value is an integer with its SNMP type: Counter32, Gauge32, TimeTicks or
// Integer.
type Value struct {
	Type   gosnmp.Asn1BER
	Number uint32
}

// Objects are the scalars of systemStats by OID, with the leading dot.
func (c CPU) Objects() map[string]Value {
	objects := map[string]Value{}
	for oid, n := range map[string]uint32{
		".1.3.6.1.4.1.2021.11.50.0": c.User,
		".1.3.6.1.4.1.2021.11.51.0": c.Nice,
		".1.3.6.1.4.1.2021.11.52.0": c.System,
		".1.3.6.1.4.1.2021.11.53.0": c.Idle,
		".1.3.6.1.4.1.2021.11.54.0": c.Wait,
		".1.3.6.1.4.1.2021.11.56.0": c.Interrupt,
		".1.3.6.1.4.1.2021.11.61.0": c.SoftIRQ,
		".1.3.6.1.4.1.2021.11.64.0": c.Steal,
	} {
		objects[oid] = Value{gosnmp.Counter32, n}
	}
	if c.Cores > 0 {
		objects[".1.3.6.1.4.1.2021.11.67.0"] = Value{gosnmp.Integer, uint32(c.Cores)}
	}
	return objects
}
