// SPDX-License-Identifier: Apache-2.0

package nft

// with adds what becomes of the service's part of the second table.
func (out *ServiceDiff) with(link ServiceDiff) {
	out.SetsAdded = append(out.SetsAdded, link.SetsAdded...)
	out.SetsRemoved = append(out.SetsRemoved, link.SetsRemoved...)
	out.SetsRemade = append(out.SetsRemade, link.SetsRemade...)
	out.ChainsAdded = append(out.ChainsAdded, link.ChainsAdded...)
	out.ChainsRemoved = append(out.ChainsRemoved, link.ChainsRemoved...)
	out.ChainsRewritten = append(out.ChainsRewritten, link.ChainsRewritten...)
	out.ElementsAdded += link.ElementsAdded
	out.ElementsRemoved += link.ElementsRemoved
	out.Lost = append(out.Lost, link.Lost...)
}

// countDeals counts the positions that are given to another backend.
func (out *ServiceDiff) countDeals(from, to *fragment) {
	for i := range to.deals {
		was, now := from.deals[i].maps(), to.deals[i].maps()
		for k := range now {
			out.ElementsRemoved += was[k].beside(now[k])
			out.ElementsAdded += now[k].beside(was[k])
		}
	}
}

// beside is how many positions of m lead elsewhere than those of o, or o's nowhere.
func (m *dealMap) beside(o *dealMap) (n int) {
	if m == nil {
		return 0
	}
	for p := range m.at {
		if v := m.value(p); v != "" && v != o.value(p) {
			n++
		}
	}
	return n
}
