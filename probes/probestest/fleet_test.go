// SPDX-License-Identifier: Apache-2.0

package probestest

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"
)

// TestFleet asks three of 16 million agents, with ordinary connected sockets: each
// answer comes from the address that was asked, also one that was copied.
func TestFleet(t *testing.T) {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &Fleet{Conn: conn, Community: "open", Objects: CPU{User: 7, Idle: 1}.Objects, Refresh: time.Minute}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // the one result
	go func() { ended <- f.Run(ctx) }()
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	for _, host := range []string{"127.0.0.1", "127.1.2.3", "127.255.0.9"} {
		g := &gosnmp.GoSNMP{Target: host, Port: port, Community: "open", Version: gosnmp.Version2c, Timeout: 2 * time.Second, MaxOids: 10}
		if err := g.Connect(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			p, err := g.Get([]string{".1.3.6.1.4.1.2021.11.50.0", ".1.3.6.1.2.1.1.3.0"})
			if err != nil {
				t.Fatalf("%s: %v", host, err)
			}
			if n := gosnmp.ToBigInt(p.Variables[0].Value).Int64(); n != 7 {
				t.Errorf("%s: got %d, want 7", host, n)
			}
		}
		_ = g.Close()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(f.answers) == 0 {
		t.Error("no answer is kept")
	}
}

func FuzzFleetAnswer(f *testing.F) {
	p := &gosnmp.SnmpPacket{Version: gosnmp.Version2c, Community: "open", PDUType: gosnmp.GetRequest, RequestID: 1<<24 + 1,
		Variables: []gosnmp.SnmpPDU{{Name: ".1.3.6.1.4.1.2021.11.50.0", Type: gosnmp.Null}}}
	packet, err := p.MarshalMsg()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packet)
	fleet := &Fleet{Community: "open", Objects: CPU{User: 7}.Objects, Refresh: time.Minute}
	f.Fuzz(func(_ *testing.T, datagram []byte) { fleet.answer(datagram) })
}
