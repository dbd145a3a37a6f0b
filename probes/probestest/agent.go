// SPDX-License-Identifier: Apache-2.0

package probestest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"
)

// oidSysUpTime is answered by the agent itself.
const oidSysUpTime = ".1.3.6.1.2.1.1.3.0"

// maxVariables is how many variables a request may have; beyond it the answer
// is tooBig.
const maxVariables = 64

// An Agent is an SNMP v2c agent that answers GET and GETNEXT, so that snmpget
// and snmpwalk work on it too. Anything else, and anything with another
// community, is met with silence, as RFC 1901 agents do.
//
// It takes a socket instead of an address, so that its caller can open the
// socket in another network namespace.
type Agent struct {
	Conn      net.PacketConn // Run closes it
	Community string
	// Objects gives the values at one moment, by OID with the leading dot. It
	// is called once per request, so that the values of one answer belong
	// together. sysUpTime is added unless it is there.
	Objects func() map[string]Value
}

// Run answers requests until ctx is done and then returns nil; another error
// means that the socket broke.
func (a *Agent) Run(ctx context.Context) error {
	start := time.Now()
	stopped := make(chan struct{}) // closed when the socket is; unbuffered, never sent on
	release := context.AfterFunc(ctx, func() {
		_ = a.Conn.Close() // wakes the read below
		close(stopped)
	})
	defer func() {
		if release() {
			_ = a.Conn.Close()
			return
		}
		<-stopped
	}()
	buf := make([]byte, 64<<10)
	for {
		n, from, err := a.Conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("read requests: %w", err)
			}
			continue // an ICMP error about an answer that nobody took
		}
		if answer := a.answer(buf[:n], time.Since(start)); answer != nil {
			_, _ = a.Conn.WriteTo(answer, from) // UDP: the client asks again
		}
	}
}

// answer makes the answer to one datagram, nil for silence.
func (a *Agent) answer(datagram []byte, up time.Duration) []byte {
	req, err := decode(datagram)
	if err != nil || req.Version != gosnmp.Version2c || req.Community != a.Community {
		return nil
	}
	objects := a.Objects()
	if _, ok := objects[oidSysUpTime]; !ok {
		objects[oidSysUpTime] = Value{gosnmp.TimeTicks, uint32(up / (10 * time.Millisecond))}
	}
	resp := &gosnmp.SnmpPacket{
		Version:   gosnmp.Version2c,
		Community: req.Community,
		PDUType:   gosnmp.GetResponse,
		RequestID: req.RequestID,
	}
	switch {
	case len(req.Variables) > maxVariables:
		resp.Error = gosnmp.TooBig
	case req.PDUType == gosnmp.GetRequest:
		resp.Variables = get(req.Variables, objects)
	case req.PDUType == gosnmp.GetNextRequest:
		resp.Variables = getNext(req.Variables, objects)
	default:
		return nil
	}
	out, err := resp.MarshalMsg()
	if err != nil {
		return nil
	}
	return out
}

// decode reads a v2c message. gosnmp is made for answers of agents one has
// chosen to ask; a panic on somebody's garbage must not end the agent.
func decode(datagram []byte) (p *gosnmp.SnmpPacket, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("decode datagram: %v", r)
		}
	}()
	codec := gosnmp.GoSNMP{Version: gosnmp.Version2c}
	return codec.SnmpDecodePacket(datagram)
}

func get(asked []gosnmp.SnmpPDU, objects map[string]Value) []gosnmp.SnmpPDU {
	out := make([]gosnmp.SnmpPDU, 0, len(asked))
	for _, q := range asked {
		if v, ok := objects[q.Name]; ok {
			out = append(out, pdu(q.Name, v))
			continue
		}
		out = append(out, gosnmp.SnmpPDU{Name: q.Name, Type: gosnmp.NoSuchInstance})
	}
	return out
}

// getNext answers with the first object after each one asked for.
func getNext(asked []gosnmp.SnmpPDU, objects map[string]Value) []gosnmp.SnmpPDU {
	oids := make([]string, 0, len(objects))
	for oid := range objects {
		oids = append(oids, oid)
	}
	slices.SortFunc(oids, compareOID)
	out := make([]gosnmp.SnmpPDU, 0, len(asked))
	for _, q := range asked {
		i, found := slices.BinarySearchFunc(oids, q.Name, compareOID)
		if found {
			i++
		}
		if i == len(oids) {
			out = append(out, gosnmp.SnmpPDU{Name: q.Name, Type: gosnmp.EndOfMibView})
			continue
		}
		out = append(out, pdu(oids[i], objects[oids[i]]))
	}
	return out
}

// pdu writes v as gosnmp wants it: int for Integer, uint32 for the others.
func pdu(oid string, v Value) gosnmp.SnmpPDU {
	if v.Type == gosnmp.Integer {
		return gosnmp.SnmpPDU{Name: oid, Type: v.Type, Value: int(v.Number)}
	}
	return gosnmp.SnmpPDU{Name: oid, Type: v.Type, Value: v.Number}
}

// compareOID orders OIDs arc by arc: .1.10 comes after .1.9.
func compareOID(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(x, y string) int {
		n, _ := strconv.ParseUint(x, 10, 32) // "" before the leading dot is 0
		m, _ := strconv.ParseUint(y, 10, 32)
		return cmp.Compare(n, m)
	})
}
