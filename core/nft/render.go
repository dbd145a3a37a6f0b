// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// Render is the text of the table that Sync makes of a plan in an empty kernel,
// byte for byte as `nft list table` prints it, and fit for `nft -f`. Services
// that Sync would refuse without asking the kernel are left out, as are the
// table's owner and persist flags, which belong to a process and not to a plan.
func Render(plan core.Plan) string { return render(DefaultTable, plan) }

func render(table string, plan core.Plan) string {
	services, _ := checkPlan(plan, nil)
	var w strings.Builder
	fmt.Fprintf(&w, "table inet %s {\n\tcomment %q\n", table, layout)
	for _, s := range services {
		fmt.Fprintf(&w, "\tcounter %s {\n\t\tpackets 0 bytes 0\n\t}\n\n", refusedName(s.Name))
	}
	for s := range sharedSets {
		renderShared(&w, s, services)
	}
	for _, s := range services {
		renderWeights(&w, s)
	}
	renderSkeleton(&w)
	for _, s := range services {
		fmt.Fprintf(&w, "\n\tchain %s {\n\t\t%s\n\t\t%s\n\t}\n", chainName(s.Name), chooseText(s), refuseText(s))
	}
	w.WriteString("}\n")
	return w.String()
}

func renderShared(w *strings.Builder, set sharedSet, services []*core.ServicePlan) {
	key := addrText(set.v6()) + " . inet_proto . inet_service"
	if set.isServices() {
		fmt.Fprintf(w, "\tmap %s {\n\t\ttype %s : verdict\n\t\tsize %d\n", set, key, servicesSize)
	} else {
		fmt.Fprintf(w, "\tset %s {\n\t\ttype %s . %s . inet_service\n\t\tsize %d\n\t\tcounter\n", set, key, addrText(set.v6()), connsSize)
	}
	var list []renderedElement
	for _, s := range services {
		list = appendRendered(list, set, s)
	}
	// nft reads the parts of a key, without their padding, as one number whose
	// last byte counts most, and sorts by that.
	slices.SortFunc(list, func(a, b renderedElement) int { return bytes.Compare(a.order, b.order) })
	texts := make([]string, len(list))
	for i, e := range list {
		texts[i] = e.text
	}
	renderElements(w, texts, 1)
}

type renderedElement struct {
	order []byte
	text  string
}

func appendRendered(list []renderedElement, set sharedSet, s *core.ServicePlan) []renderedElement {
	key := fmt.Sprintf("%v . %s . %d", s.VIP, s.Protocol, s.Port)
	order := append(s.VIP.AsSlice(), s.Protocol.Number(), byte(s.Port>>8), byte(s.Port))
	switch set {
	case servicesSet(s.VIP):
		slices.Reverse(order)
		text := fmt.Sprintf("%s comment %q : goto %s", key, serviceComment(s), chainName(s.Name))
		list = append(list, renderedElement{order, text})
	case connsSet(s):
		for _, b := range s.Backends {
			o := append(append(bytes.Clone(order), b.Addr.Addr().AsSlice()...), byte(b.Addr.Port()>>8), byte(b.Addr.Port()))
			slices.Reverse(o)
			text := fmt.Sprintf("%s . %s counter packets 0 bytes 0 comment %q", key, endpointText(b.Addr), s.Name+"/"+b.Name)
			list = append(list, renderedElement{o, text})
		}
	}
	return list
}

func renderWeights(w *strings.Builder, s *core.ServicePlan) {
	fmt.Fprintf(w, "\tmap %s {\n\t\ttypeof numgen random mod %d : %s daddr . %s dport\n\t\tflags interval\n",
		weightsName(s.Name), core.Slots, ipText(s.VIP.Is6()), s.Protocol)
	var texts []string
	for _, iv := range intervals(nil, s) {
		slots := fmt.Sprintf("%d-%d", iv.start, iv.end-1)
		if iv.end-iv.start == 1 {
			slots = fmt.Sprint(iv.start)
		}
		texts = append(texts, fmt.Sprintf("%s comment %q : %s", slots, iv.name, endpointText(iv.addr)))
	}
	renderElements(w, texts, 5)
}

// renderElements writes the elements, so many to a line, and closes the set.
func renderElements(w *strings.Builder, texts []string, perLine int) {
	for i, text := range texts {
		switch {
		case i == 0:
			w.WriteString("\t\telements = { ")
		case i%perLine == 0:
			w.WriteString(",\n\t\t\t     ")
		default:
			w.WriteString(", ")
		}
		w.WriteString(text)
	}
	if len(texts) > 0 {
		w.WriteString(" }\n")
	}
	w.WriteString("\t}\n\n")
}

func renderSkeleton(w *strings.Builder) {
	for _, c := range []struct{ name, priority string }{
		{chainPrerouting, "dstnat"}, {chainOutput, "-100"},
	} {
		fmt.Fprintf(w, "\tchain %s {\n\t\ttype nat hook %s priority %s; policy accept;\n", c.name, c.name, c.priority)
		for _, set := range []sharedSet{services4, services6} {
			fmt.Fprintf(w, "\t\t%s daddr . meta l4proto . th dport vmap @%s\n", ipText(set.v6()), set)
		}
		w.WriteString("\t}\n\n")
	}
	fmt.Fprintf(w, "\tchain %s {\n\t\ttype nat hook postrouting priority srcnat - 1; policy accept;\n\t\tct status ! dnat accept\n", chainAccount)
	for _, r := range accountRules {
		ip, verdict := ipText(r.set.v6()), "accept"
		if r.set.forwarding() == core.Masquerade {
			verdict = "masquerade"
		}
		fmt.Fprintf(w, "\t\tmeta l4proto %s ct original %s daddr . meta l4proto . ct original proto-dst . ct reply %s saddr . ct reply proto-src @%s %s\n",
			r.protocol, ip, ip, r.set, verdict)
	}
	w.WriteString("\t}\n")
}

func chooseText(s *core.ServicePlan) string {
	return fmt.Sprintf("meta l4proto %s dnat %s to numgen random mod %d map @%s",
		s.Protocol, ipText(s.VIP.Is6()), core.Slots, weightsName(s.Name))
}

func refuseText(s *core.ServicePlan) string {
	count := fmt.Sprintf("counter name %q ", refusedName(s.Name))
	switch {
	case s.OnEmpty == core.Drop:
		return count + "drop"
	case s.Protocol == core.TCP:
		return "meta l4proto tcp " + count + "reject with tcp reset"
	default:
		return count + "reject" // with icmpx port-unreachable, which nft leaves out
	}
}

func ipText(v6 bool) string {
	if v6 {
		return "ip6"
	}
	return "ip"
}

func addrText(v6 bool) string {
	if v6 {
		return "ipv6_addr"
	}
	return "ipv4_addr"
}

func endpointText(a netip.AddrPort) string { return fmt.Sprintf("%v . %d", a.Addr(), a.Port()) }
