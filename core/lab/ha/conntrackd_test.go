// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"fmt"
)

// conntrackd runs with the file of packaging/.
func (b *balancer) conntrackd(disable string) {
	s := b.s
	s.t.Helper()
	mine, other := "10.255.0.1", "10.255.0.2"
	if b != s.balancers[0] {
		mine, other = other, mine
	}
	b.write("conntrackd.conf", s.packaged("conntrackd/conntrackd.conf",
		"IPv4_address 10.255.0.1\n\t\tIPv4_Destination_Address 10.255.0.2",
		fmt.Sprintf("IPv4_address %s\n\t\tIPv4_Destination_Address %s", mine, other),
		"/run/conntrackd", b.path("conntrackd"), "Syslog on", "Syslog off", "DisableExternalCache no", "DisableExternalCache "+disable), 0o644)
	b.start("conntrackd", "-C", b.path("conntrackd.conf"))
	s.until("conntrackd answers", func() error {
		_, err := b.node.Command(s.t.Context(), "conntrackd", "-C", b.path("conntrackd.conf"), "-s")
		return err
	})
}
