// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gosnmp/gosnmp"
)

// The objects that one GET asks for. All scalars, so that no walk is needed.
const (
	oidUptime = ".1.3.6.1.2.1.1.3.0"        // sysUpTime
	oidCores  = ".1.3.6.1.4.1.2021.11.67.0" // ssCpuNumCpus
	oidRaw    = ".1.3.6.1.4.1.2021.11.%d.0" // ssCpuRaw…
	oidGroup  = ".1.3.6.1.4.1.2021.11"      // systemStats, for people
	maxCores  = 1 << 16                     // more is nonsense, not a machine
)

// rawColumn is the number of each counter in systemStats.
var rawColumn = [tickKinds]int{
	tickUser:      50, // ssCpuRawUser
	tickNice:      51, // ssCpuRawNice
	tickSystem:    52, // ssCpuRawSystem
	tickIdle:      53, // ssCpuRawIdle
	tickWait:      54, // ssCpuRawWait
	tickInterrupt: 56, // ssCpuRawInterrupt
	tickSoftIRQ:   61, // ssCpuRawSoftIRQ
	tickSteal:     64, // ssCpuRawSteal
}

// cpuOIDs is the list of the one GET; rawOID maps its counters to their kind.
var cpuOIDs, rawOID = func() ([]string, map[string]int) {
	oids, kinds := make([]string, 0, tickKinds+2), make(map[string]int, tickKinds)
	for kind, column := range rawColumn {
		oid := fmt.Sprintf(oidRaw, column)
		oids, kinds[oid] = append(oids, oid), kind
	}
	return append(oids, oidCores, oidUptime), kinds
}()

// errNoCounters names the remedies: a stock Debian agent hides the group, and other
// agents than net-snmp do not have it.
var errNoCounters = errors.New("shows no UCD-SNMP CPU counters: allow them in its snmpd.conf with `view systemonly included " + oidGroup + "`; if it is not net-snmp, set cpu_source: host or cisco")

// decodeCPU reads the answer to a GET of cpuOIDs. Counters that the agent does
// not have count as 0, but there must be idle time and some busy time.
func decodeCPU(vars []gosnmp.SnmpPDU) (cpuCounters, error) {
	var c cpuCounters
	var has [tickKinds]bool
	for _, v := range vars {
		n, ok, err := number(v)
		if err != nil {
			return cpuCounters{}, err
		}
		if !ok {
			continue
		}
		name := v.Name
		if !strings.HasPrefix(name, ".") {
			name = "." + name
		}
		kind, raw := rawOID[name]
		switch {
		case raw:
			// The low half of a Counter64 moves like a Counter32.
			c.ticks[kind], has[kind] = uint32(n), true
		case name == oidCores && n > 0 && n <= maxCores:
			c.cores = int(n)
		case name == oidUptime:
			c.uptime, c.hasUptime = uint32(n), true
		}
	}
	if !has[tickIdle] || !has[tickUser] && !has[tickSystem] {
		return cpuCounters{}, errNoCounters
	}
	return c, nil
}
