// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// A snapshot is what a table of our layout holds.
type snapshot struct {
	shared   *fragment
	services map[string]*held
	// wrong says what the table holds that no plan makes. Such a table is
	// replaced by the next Sync.
	wrong error
}

// A loader puts a snapshot together.
type loader struct {
	*snapshot
	sets map[string]*set
}

// load reads the table. It must have our layout.
func (a *Applier) load(ctx context.Context) (*snapshot, error) {
	l := loader{&snapshot{shared: &fragment{}, services: map[string]*held{}}, map[string]*set{}}
	for _, step := range []func(context.Context, *loader) error{
		a.loadSets, a.loadChains, a.loadObjects, a.loadElements, a.loadWeights, a.loadFlowtables, a.loadLink,
	} {
		if err := step(ctx, &l); err != nil {
			return nil, err
		}
	}
	for name, h := range l.services {
		h.plan = planRead(name, h.read)
		if h.read.link != nil && l.shared.link != nil {
			h.plan.Interfaces = l.shared.link.interfaces()
		}
	}
	return l.snapshot, nil
}

func (l *loader) complain(format string, args ...any) {
	if l.wrong == nil {
		l.wrong = fmt.Errorf(format, args...)
	}
}

// part is where something of that name belongs.
func (l *loader) part(name string) *fragment {
	return l.service(serviceOf(name))
}

func (l *loader) service(name string) *fragment {
	if name == "" {
		return l.shared
	}
	h := l.services[name]
	if h == nil {
		h = &held{read: &fragment{name: name}}
		l.services[name] = h
	}
	return h.read
}

func (a *Applier) loadSets(_ context.Context, l *loader) error {
	return a.w.dump(unix.NFT_MSG_GETSET, a.table, unix.NFTA_SET_TABLE, func(body []byte) error {
		s, err := parseSet(body)
		if err != nil {
			l.complain("%w", err)
			return nil
		}
		if l.sets[s.name] == nil {
			l.sets[s.name] = s
			f := l.part(s.name)
			f.sets = append(f.sets, s)
		}
		return nil
	})
}

func (a *Applier) loadChains(_ context.Context, l *loader) error {
	chains := map[string]*chain{}
	var order []string
	err := a.w.dump(unix.NFT_MSG_GETCHAIN, a.table, unix.NFTA_CHAIN_TABLE, func(body []byte) error {
		c := &chain{name: nlmsg.Text(nlmsg.Find(body, unix.NFTA_CHAIN_NAME))}
		if h := nlmsg.Find(body, unix.NFTA_CHAIN_HOOK); h != nil {
			c.hook = &hook{
				kind: nlmsg.Text(nlmsg.Find(body, unix.NFTA_CHAIN_TYPE)), num: nlmsg.Uint32(nlmsg.Find(h, unix.NFTA_HOOK_HOOKNUM)),
				priority: int32(nlmsg.Uint32(nlmsg.Find(h, unix.NFTA_HOOK_PRIORITY))),
			}
		}
		if c.hook != nil && nlmsg.Find(nlmsg.Find(body, unix.NFTA_CHAIN_HOOK), unix.NFTA_HOOK_DEV) != nil {
			c.hook.kind += "@" + nlmsg.Text(nlmsg.Find(nlmsg.Find(body, unix.NFTA_CHAIN_HOOK), unix.NFTA_HOOK_DEV))
		}
		if chains[c.name] == nil {
			chains[c.name] = c
			order = append(order, c.name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	seen := map[uint64]bool{} // rules, by handle: a dump may be begun again
	err = a.w.dump(unix.NFT_MSG_GETRULE, a.table, unix.NFTA_RULE_TABLE, func(body []byte) error {
		c, handle := chains[nlmsg.Text(nlmsg.Find(body, unix.NFTA_RULE_CHAIN))], nlmsg.Uint64(nlmsg.Find(body, unix.NFTA_RULE_HANDLE))
		if c != nil && !seen[handle] {
			seen[handle] = true
			c.rules = append(c.rules, rule{raw: told(nlmsg.Find(body, unix.NFTA_RULE_EXPRESSIONS))})
		}
		return nil
	})
	for _, name := range order {
		f := l.part(name)
		if chains[name].hook != nil {
			f = l.shared // its name may have an interface's, and that a dash
		}
		f.chains = append(f.chains, *chains[name])
	}
	return err
}

func (a *Applier) loadObjects(_ context.Context, l *loader) error {
	return a.w.dump(unix.NFT_MSG_GETOBJ, a.table, unix.NFTA_OBJ_TABLE, func(body []byte) error {
		o := object{name: nlmsg.Text(nlmsg.Find(body, unix.NFTA_OBJ_NAME)), kind: nlmsg.Uint32(nlmsg.Find(body, unix.NFTA_OBJ_TYPE))}
		data := nlmsg.Find(body, unix.NFTA_OBJ_DATA)
		if o.kind == unix.NFT_OBJECT_COUNTER {
			o.from = parseCounter(data)
		} else {
			o.raw = slices.Clone(data)
		}
		f := l.part(o.name)
		if f.object(o.name, o.kind) == nil {
			f.objects = append(f.objects, o)
		}
		return nil
	})
}

// loadElements reads the elements that are ours to write, but for the weights.
func (a *Applier) loadElements(ctx context.Context, l *loader) error {
	for name, s := range l.sets {
		if s.dynamic() || isWeights(name) || isDealMap(name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		list, err := a.w.elementsOf(a.table, s)
		if err != nil {
			return err
		}
		for _, e := range list {
			l.element(s, e)
		}
	}
	return nil
}

func (a *Applier) loadFlowtables(_ context.Context, l *loader) error {
	list, err := a.flowtables()
	for _, t := range list {
		if t.name != nameFlows {
			l.complain("flowtable %q is none of ours", t.name)
			continue
		}
		l.shared.flow = t
	}
	return err
}

// element files an element: with the service whose set it is in, whose chain it
// leads to, or whose name is in its comment.
func (l *loader) element(s *set, e elem) {
	name := serviceOf(s.name)
	if name == "" {
		name, _, _ = strings.Cut(e.comment, "/")
	}
	if name == "" {
		l.complain("set %s: an element without a service", s.name)
		return
	}
	l.service(name).add(s, e)
}

// loadWeights reads the weights maps.
func (a *Applier) loadWeights(ctx context.Context, l *loader) error {
	var list []mapOf
	for name, h := range l.services {
		h.seat = seatRead(h.read)
		maps := []*set{l.sets[h.seat.group], l.sets[spareOf(h.seat.group)]}
		if !h.seat.shared() {
			maps = h.read.sets
		}
		for _, s := range maps {
			if s != nil && isWeights(s.name) {
				list = append(list, mapOf{name, s, h.seat})
			}
		}
	}
	return a.readWeights(ctx, list, func(i int, m weightMap, err error) {
		h := l.services[list[i].service]
		if err != nil {
			h.unknown = true // the next change writes it whole
			m = weightMap{set: list[i].set, service: m.service}
			if list[i].seat.shared() {
				l.complain("map %s: %w", m.set.name, err)
			}
		}
		m.intervals, m.targets = slices.Clone(m.intervals), slices.Clone(m.targets)
		h.read.maps = append(h.read.maps, m)
	})
}
