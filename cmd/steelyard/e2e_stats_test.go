// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// show --stats and --rate of a real daemon: a service that counts, and one that
// asks for offload, too.
func TestStats(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.write(fmt.Sprintf(`services:
  web:
    vip: %s
    port: 80
    policy: weighted
    probes: [alive]
    count_bytes: true
    offload: true
    backends: %s
  plain:
    vip: %[1]s
    port: 81
    policy: weighted
    probes: [alive]
    backends: %[2]s
`, r.lab.VIP4, r.backends(false, 3, 1)))
	r.start()
	r.untilShares("web", 75, 25)
	stop := r.background("tcp", r.vip4(80))
	r.until("rates of web", func() error {
		s, err := r.service("web")
		if err != nil {
			return err
		}
		if s.Traffic == nil || s.Traffic.Rates == nil || s.Traffic.Rates.BytesOut <= 0 || s.Backends[1].Traffic == nil {
			return fmt.Errorf("traffic is %+v", s.Traffic)
		}
		return nil
	})
	out, code := r.steelyard("show", "--stats", "--rate")
	t.Logf("show --stats --rate:\n%s", out)
	for _, want := range []string{"INBYTES", "INBPS", "kB/s", "total", "packets and bytes are counted for services with `count_bytes: true`"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, and %q is not in:\n%s", code, want, out)
		}
	}
	if got := stop(); len(got.failed) > 0 {
		t.Errorf("connections failed: %v", got.failed)
	}
	r.until("totals that stand still", func() error {
		s, err := r.service("web")
		if err != nil {
			return err
		}
		tr := s.Traffic
		switch sum := s.Backends[0].Traffic.PacketsIn + s.Backends[1].Traffic.PacketsIn; {
		case tr.Rates == nil || tr.Rates.PacketsIn != 0 || tr.PacketsIn != sum:
			return fmt.Errorf("%d packets in, %d by backend, rates %+v", tr.PacketsIn, sum, tr.Rates)
		case tr.PacketsIn < 4*s.ConnectionsTotal || tr.BytesIn < 40*tr.PacketsIn: // SYN, ACK, question, FIN; of 40 bytes of headers at least
			return errors.New("fewer packets or bytes than that many connections take")
		}
		return nil
	})
	if s, err := r.service("plain"); err != nil || s.Traffic != nil {
		t.Errorf("plain counts %+v, %v", s.Traffic, err)
	}
	out, _ = r.steelyard("status")
	t.Logf("status:\n%s", out)
	if !strings.Contains(out, "offload") {
		t.Error("status does not speak of offload, which misses the kernel or takes packets past count_bytes")
	}
}
