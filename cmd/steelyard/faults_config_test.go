// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// restless is a policy whose answer is another in each tenth of a second: the slots of
// the first backend tell when it was decided. See decidedAt.
const restless = `
    policy = { about = "another answer in each tenth of a second", reads = {} }
    function schedule(s)
      local w, first = {}, 4096 + math.floor(s.now * 10) % 4096
      for i = 1, s.n do w[i] = (65536 - first) / (s.n - 1) end
      w[1] = first
      return w
    end
`

// decidedAt is when the restless policy gave the backends these slots, at or before now,
// to some tenths; the pattern repeats after seven minutes. Some slots tell no time: those
// of before the first decision, and of when a backend has just come back.
func decidedAt(slots slotsOf, first string, now time.Time) (at time.Time, ok bool) {
	const cycle = 4096
	rest, least, most := float64(core.Slots-slots[first]), uint32(core.Slots), uint32(0)
	for name, n := range slots {
		if name != first {
			least, most = min(least, n), max(most, n)
		}
	}
	if len(slots) < 2 || slots[first] == 0 || most > least+1 {
		return at, false
	}
	// Some may be dead: the proportion to the others is as the policy had it.
	ratio := float64(slots[first]) / (rest / float64(len(slots)-1))
	is := int64(math.Round(core.Slots*ratio/(faultBackends-1+ratio))) - cycle
	if is < 0 || is >= cycle {
		return at, false
	}
	tenths := now.UnixMilli() / 100
	age := (tenths%cycle - is + cycle) % cycle
	if age > cycle-10 {
		age = 0 // rounded to what is yet to come
	}
	return time.UnixMilli((tenths - age) * 100), true
}

// configure writes the configuration of a node.
func (s *faultStand) configure(n *faultNode) {
	s.t.Helper()
	roles := map[*faultNode]string{s.prober: "[probe]", s.scheduler: "[schedule]"}
	var urls, backends []string
	for _, server := range s.servers {
		urls = append(urls, "'"+server.url()+"'")
	}
	for _, b := range s.backends {
		backends = append(backends, fmt.Sprintf("%s: {address: %s, port: 80}", b.name, b.node.Addr4))
	}
	var text strings.Builder
	fmt.Fprintf(&text, `node: %s
state_dir: %[2]s/state
control: {socket: %[2]s/control.sock}
log: {level: info, format: text}
roles: %s
bus: {servers: [%s]}
cluster: {group: %s}
probes:
  alive: {type: tcp, port: %d, interval: 500ms, timeout: 450ms, rise: 2, fall: 2}
policies:
  restless:
    lua: |%s
services:
`, n.name, n.dir, cmp.Or(roles[n], "[probe, schedule, apply]"), strings.Join(urls, ", "), faultGroup, probePort, strings.ReplaceAll(restless, "\n", "\n  "))
	for i := range faultServices {
		fmt.Fprintf(&text, "  %s: {vip: %s, port: %d, forwarding: masquerade, policy: restless, every: %s, probes: [alive], shaping: {floor: 0, step: 0, dead_band: 0}, backends: {%s}}\n",
			faultService(i), s.lab.VIP4, 80+i, chooseFaults("300ms", "100ms"), strings.Join(backends, ", "))
	}
	if err := os.WriteFile(n.config, []byte(text.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// faultService is the name of a service. By these names each node that may lead does.
func faultService(i int) string { return "web" + "abcdh"[i:i+1] }
