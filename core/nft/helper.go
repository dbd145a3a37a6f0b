// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// The attributes of a ct helper object, which golang.org/x/sys/unix does not
// have: enum nft_ct_helper_attributes.
const (
	nftaCtHelperName    = 1
	nftaCtHelperL3proto = 2
	nftaCtHelperL4proto = 3
)

// helperProtocols are those that each helper can follow.
var helperProtocols = map[string][]core.Protocol{
	"ftp":  {core.TCP},
	"sip":  {core.TCP, core.UDP},
	"tftp": {core.UDP},
}

// helper has conntrack follow what the connection announces. It stands before the
// choice, because NAT makes room for changed lengths when it is set up and a
// helper is there; and in the service's own chain, which is late enough: the
// connection is tracked by then, and early enough: it is not yet confirmed.
//
//	meta l4proto tcp ct helper set "ftp-web"
func (c *compiler) helper() {
	for _, p := range helperProtocols[c.s.Helper] {
		for _, used := range c.protocols() {
			if used == p {
				name := helperName(c.s.Helper, p, c.s.Name)
				c.f.objects = append(c.f.objects, newHelper(name, c.s.Helper, p))
				c.rule(l4proto(p), setHelper(name))
			}
		}
	}
}

// helperName is "ftp-web", and "siptcp-web" for the rarer of two protocols.
func helperName(helper string, p core.Protocol, service string) string {
	if len(helperProtocols[helper]) > 1 && p == core.TCP {
		helper += string(p)
	}
	return nameOf(helper, service)
}

func newHelper(name, helper string, p core.Protocol) object {
	var b batch
	b.str(nftaCtHelperName, helper)
	b.attrHeader(nftaCtHelperL3proto, 2)
	b.buf = append(b.buf, 0, unix.NFPROTO_INET)
	b.pad()
	b.attrHeader(nftaCtHelperL4proto, 1)
	b.buf = append(b.buf, p.Number())
	b.pad()
	return object{
		name: name, kind: unix.NFT_OBJECT_CT_HELPER, word: "ct helper", raw: b.buf,
		text: fmt.Sprintf("\t\ttype %q protocol %s\n\t\tl3proto inet\n", helper, p),
	}
}

func setHelper(name string) clause {
	return clause{text: fmt.Sprintf("ct helper set %q", name), exprs: []expr.Any{
		&expr.Objref{Type: unix.NFT_OBJECT_CT_HELPER, Name: name},
	}}
}

// checkHelper refuses a helper that none of the service's frontends can use.
func checkHelper(s *core.ServicePlan) error {
	if s.Helper == "" {
		return nil
	}
	protocols, ok := helperProtocols[s.Helper]
	if !ok {
		return fmt.Errorf("service %s: helper %q: want ftp, sip or tftp", s.Name, s.Helper)
	}
	for _, f := range s.Frontends {
		for _, p := range protocols {
			if f.Protocol == p {
				return nil
			}
		}
	}
	return fmt.Errorf("service %s: helper %s follows %v, and no frontend is that", s.Name, s.Helper, protocols)
}
