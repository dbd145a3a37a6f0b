// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"
	"strings"
)

const addressHint = "an IP address, such as 192.0.2.10 or 2001:db8::10"

// address parses an address. Why says what is wrong with it, and is empty if
// nothing is.
func address(text string) (a netip.Addr, why, hint string) {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		hint = addressHint
		if ap, err := netip.ParseAddrPort(text); err == nil {
			hint = fmt.Sprintf("write the port as a key of its own: port: %d", ap.Port())
		}
		return netip.Addr{}, fmt.Sprintf("%q is no address", text), hint
	case a.Is4In6():
		return netip.Addr{}, text + " is an IPv4 address in the clothes of IPv6", "write " + a.Unmap().String()
	case a.Zone() != "":
		return netip.Addr{}, text + " has a zone", "use an address that is not link-local"
	}
	return a, "", ""
}

// host is address, of one host.
func host(text string) (a netip.Addr, why, hint string) {
	if a, why, hint = address(text); why == "" {
		why, hint = noHost(a, text)
	}
	return a, why, hint
}

// noHost says why an address is not that of a host that packets can be sent to.
func noHost(a netip.Addr, text string) (why, hint string) {
	switch {
	case a.Is6() && a.IsLinkLocalUnicast():
		return text + " is known on one link only, and nothing says on which", "use an address that is not link-local"
	case a.IsMulticast() || a.Is4() && (a.As4()[0] == 0 || a.As4()[0] >= 240) || a.IsUnspecified():
		return text + " is not the address of one host", addressHint
	}
	return "", ""
}

// prefix parses an address or a network. An address is a prefix of all its bits.
func prefix(text string) (p netip.Prefix, why, hint string) {
	addr, bits, isNet := strings.Cut(text, "/")
	if !isNet {
		a, why, hint := address(text)
		if why != "" {
			return netip.Prefix{}, why, hint
		}
		return netip.PrefixFrom(a, a.BitLen()), "", ""
	}
	if _, why, hint := address(addr); why != "" {
		return netip.Prefix{}, why, hint
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Sprintf("%q is no prefix: %q is no length", text, bits), "such as 192.0.2.0/24 or 2001:db8::/32"
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Sprintf("%s has bits behind its first %d", text, p.Bits()), "write " + p.Masked().String()
	}
	return p, "", ""
}
