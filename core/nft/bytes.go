// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// Packets and bytes are counted for the services that ask for it. Every packet of
// a connection leaves the node or ends on it, so that two hooks see it once,
// however it is forwarded:
//
//	chain bytes        postrouting, priority srcnat - 1
//	chain byteslocal   input, 99
//	chain bytesout     of both: the answers
//
// One that this node sends to itself passes both, and is counted in the second. To
// count a packet takes 13 expressions, an answer 14: 3 ask whether it is balanced,
// 2 or 3 for its direction, 2 for the protocol, 5 load the key and 1 looks it up.
// The rules of other protocols and families add what they take not to match.

const (
	chainBytes      = "bytes"
	chainBytesLocal = "byteslocal"
	chainBytesOut   = "bytesout"
)

// The counters, by connection: to the backend, and back.
var (
	inMaps  = makeConnMaps("in", true)
	outMaps = makeConnMaps("out", true)
)

// shareBytes adds the chains that count, and their maps.
func (n needs) shareBytes(f *fragment) {
	if len(n.bytes) == 0 {
		return
	}
	in := []rule{newRule(ctReply(), goTo(chainBytesOut))}
	in = append(in, n.bytes.share(f, inMaps)...)
	balanced := newRule(notDNAT(), accept())
	leaving := []rule{balanced}
	if n.localClients {
		leaving = append(leaving, newRule(toLoopback(), accept()))
	}
	f.chains = append(f.chains,
		chain{name: chainBytesOut, rules: n.bytes.share(f, outMaps)},
		chain{chainBytes, &hook{"filter", unix.NF_INET_POST_ROUTING, 99, "postrouting priority srcnat - 1"}, append(leaving, in...)},
		chain{chainBytesLocal, &hook{"filter", unix.NF_INET_LOCAL_IN, 99, "input priority 99"}, append([]rule{balanced}, in...)})
}

// bytes adds the connections whose packets are counted.
func (c *compiler) bytes() {
	if !c.s.Bytes {
		return
	}
	c.eachConn(func(f core.Frontend, b *core.BackendPlan) {
		c.addConn(inMaps, f, b, "accept")
		c.addConn(outMaps, f, b, "accept")
	})
}

// ctReply is `ct direction reply`.
func ctReply() clause {
	return clause{text: "ct direction reply", exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: register(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: []byte{1}},
	}}
}

// toLoopback is `meta oiftype loopback`.
func toLoopback() clause {
	return clause{text: "meta oiftype loopback", exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFTYPE, Register: register(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register(0), Data: binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_LOOPBACK)},
	}}
}

// noteCounting keeps in mind whether the shared part has any of the maps, so that
// none is asked for where no service wants it.
func (a *Applier) noteCounting(shared *fragment) {
	a.counting.Store(shared.chain(chainBytes) != nil)
}

// bytesCounted adds to all what the maps have counted.
func (a *Applier) bytesCounted(all map[core.CounterKey]core.Counters) error {
	if !a.counting.Load() {
		return nil
	}
	for kind, in := range inMaps {
		err := a.packets(in, all, func(sum *core.Counters, n counter) { sum.PacketsIn += n.packets; sum.BytesIn += n.bytes })
		if err != nil {
			return err
		}
		err = a.packets(outMaps[kind], all, func(sum *core.Counters, n counter) { sum.PacketsOut += n.packets; sum.BytesOut += n.bytes })
		if err != nil {
			return err
		}
	}
	return nil
}

// packets adds what one map has counted to its backends, and to their services.
func (a *Applier) packets(of *set, all map[core.CounterKey]core.Counters, add func(*core.Counters, counter)) error {
	part := map[core.BackendID]counter{}
	if err := a.counts(of, part); err != nil {
		return err
	}
	for id, n := range part {
		for _, key := range []core.CounterKey{id, {Service: id.Service}} {
			sum := all[key]
			sum.BytesCounted = true
			add(&sum, n)
			all[key] = sum
		}
	}
	return nil
}
