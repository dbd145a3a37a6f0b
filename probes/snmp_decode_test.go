// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/gosnmp/gosnmp"
)

func counter(column string, v any) gosnmp.SnmpPDU {
	return gosnmp.SnmpPDU{Name: ".1.3.6.1.4.1.2021.11." + column + ".0", Type: gosnmp.Counter32, Value: v}
}

func TestDecodeCPU(t *testing.T) {
	missing := gosnmp.SnmpPDU{Name: rawOIDOf(tickWait), Type: gosnmp.NoSuchInstance}
	tests := []struct {
		name string
		vars []gosnmp.SnmpPDU
		want cpuCounters
		err  string
	}{
		{"the four that every system has", []gosnmp.SnmpPDU{
			counter("50", uint(1)), counter("51", uint(2)), counter("52", uint(3)), counter("53", uint(4)), missing,
		}, cpuCounters{ticks: [tickKinds]uint32{tickUser: 1, tickNice: 2, tickSystem: 3, tickIdle: 4}}, ""},
		{"cores, uptime and no leading dot", []gosnmp.SnmpPDU{
			counter("50", uint(1)), counter("53", uint(math.MaxUint32)),
			{Name: "1.3.6.1.4.1.2021.11.67.0", Type: gosnmp.Integer, Value: 8},
			{Name: oidUptime, Type: gosnmp.TimeTicks, Value: uint32(77)},
		}, cpuCounters{ticks: [tickKinds]uint32{tickUser: 1, tickIdle: math.MaxUint32}, cores: 8, uptime: 77, hasUptime: true}, ""},
		{"a proxy that widens counters", []gosnmp.SnmpPDU{
			counter("50", uint(1)),
			{Name: rawOIDOf(tickIdle), Type: gosnmp.Counter64, Value: uint64(1<<32 + 5)},
		}, cpuCounters{ticks: [tickKinds]uint32{tickUser: 1, tickIdle: 5}}, ""},
		{"nonsense in cores is no core count", []gosnmp.SnmpPDU{
			counter("50", uint(1)), counter("53", uint(1)),
			{Name: oidCores, Type: gosnmp.Integer, Value: 1 << 30},
		}, cpuCounters{ticks: [tickKinds]uint32{tickUser: 1, tickIdle: 1}}, ""},
		{"nothing", nil, cpuCounters{}, "view systemonly included .1.3.6.1.4.1.2021.11"},
		{"all missing", []gosnmp.SnmpPDU{missing}, cpuCounters{}, "UCD-SNMP"},
		{"idle only", []gosnmp.SnmpPDU{counter("53", uint(1))}, cpuCounters{}, "UCD-SNMP"},
		{"a text", []gosnmp.SnmpPDU{
			{Name: rawOIDOf(tickUser), Type: gosnmp.OctetString, Value: []byte("12")},
		}, cpuCounters{}, "that is no counter"},
		{"a negative number", []gosnmp.SnmpPDU{
			{Name: rawOIDOf(tickUser), Type: gosnmp.Integer, Value: -1},
		}, cpuCounters{}, "that is no counter"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeCPU(tt.vars)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("error %v, want one with %q", err, tt.err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func rawOIDOf(kind int) string {
	for oid, k := range rawOID {
		if k == kind {
			return oid
		}
	}
	return ""
}

// FuzzDecodePacket goes from a datagram to counters, as an agent's answer does.
func FuzzDecodePacket(f *testing.F) {
	for _, vars := range [][]gosnmp.SnmpPDU{
		{counter("50", uint(1)), counter("53", uint(4))},
		{{Name: oidCores, Type: gosnmp.Integer, Value: 4}, {Name: oidUptime, Type: gosnmp.TimeTicks, Value: uint32(1)}},
		{{Name: oidCores, Type: gosnmp.NoSuchObject}},
		{{Name: oidCores, Type: gosnmp.OctetString, Value: "4"}, {Name: oidCores, Type: gosnmp.IPAddress, Value: "192.0.2.1"}},
	} {
		p := gosnmp.SnmpPacket{Version: gosnmp.Version2c, Community: "c", PDUType: gosnmp.GetResponse, RequestID: 1, Variables: vars}
		b, err := p.MarshalMsg()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		findReport(datagram)
		codec := gosnmp.GoSNMP{Version: gosnmp.Version2c}
		p, err := codec.SnmpDecodePacket(datagram)
		if err != nil {
			return
		}
		c, err := decodeCPU(p.Variables)
		if err == nil && (c.cores < 0 || c.cores > maxCores) {
			t.Errorf("%d cores", c.cores)
		}
		if err != nil && c != (cpuCounters{}) {
			t.Errorf("counters beside the error %v: %+v", errors.Unwrap(err), c)
		}
	})
}

func TestFindReport(t *testing.T) {
	report := func(arc, instance byte) []byte {
		return append(append([]byte{0x30, 0x0f}, usmStats...), arc, instance, 0x41, 1, 1)
	}
	tests := []struct {
		name   string
		packet []byte
		want   usmReport
	}{
		{"wrong digest", report(5, 0), usmDigest},
		{"unknown user", report(3, 0), usmUser},
		{"an arc that RFC 3414 does not have", report(7, 0), 0},
		{"not the scalar", report(5, 1), 0},
		{"cut off", report(5, 0)[:13], 0},
		{"no report", []byte{0x30, 0}, 0},
	}
	for _, tt := range tests {
		if got := findReport(tt.packet); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}
