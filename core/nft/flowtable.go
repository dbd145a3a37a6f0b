// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// A flowtable is the kernel's short cut for established connections: packets that
// arrive on one of its devices and belong to a flow in it go out by the way that
// the flow has, past routing and all chains. A fragment has one at most.
type flowtable struct {
	name    string
	devices []string // sorted
}

// The attributes of a flowtable that golang.org/x/sys/unix does not have.
const (
	nftaFlowtableTable    = 1
	nftaFlowtableName     = 2
	nftaFlowtableHook     = 3
	nftaFlowtableHookNum  = 1
	nftaFlowtableHookPri  = 2
	nftaFlowtableHookDevs = 3
	nftaDeviceName        = 1
)

// newFlowtable makes a flowtable without devices.
func (b *batch) newFlowtable(name string) {
	b.flowtable(unix.NFT_MSG_NEWFLOWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, name)
	b.end()
}

func (b *batch) delFlowtable(name string) {
	b.nft(unix.NFT_MSG_DELFLOWTABLE, 0)
	b.str(nftaFlowtableTable, b.table)
	b.str(nftaFlowtableName, name)
	b.end()
}

// device adds a device to a flowtable, or removes it. Each has a message of its
// own, so that one which has gone in the meantime costs none of the others.
func (b *batch) device(msg, flags int, name, device string) {
	owner := b.owner
	b.owner = deviceOwner(device)
	b.flowtable(msg, flags, name, device)
	b.end()
	b.owner = owner
}

func (b *batch) flowtable(msg, flags int, name string, devices ...string) {
	b.nft(msg, flags)
	b.str(nftaFlowtableTable, b.table)
	b.str(nftaFlowtableName, name)
	hook := b.nest(nftaFlowtableHook)
	b.u32(nftaFlowtableHookNum, 0) // ingress
	b.u32(nftaFlowtableHookPri, 0)
	if len(devices) > 0 {
		list := b.nest(nftaFlowtableHookDevs)
		for _, d := range devices {
			b.str(nftaDeviceName, d)
		}
		b.unnest(list)
	}
	b.unnest(hook)
}

// clearFlowtable removes what has no place in the successor; the rules that refer
// to it are gone.
func (b *batch) clearFlowtable(from, to *flowtable) {
	switch {
	case from == nil:
	case to == nil:
		b.delFlowtable(from.name)
	default:
		for _, d := range from.devices {
			if !slices.Contains(to.devices, d) {
				b.device(unix.NFT_MSG_DELFLOWTABLE, 0, to.name, d)
			}
		}
	}
}

// fillFlowtable adds what the predecessor has not got.
func (b *batch) fillFlowtable(from, to *flowtable) {
	if to == nil {
		return
	}
	if from == nil {
		b.newFlowtable(to.name)
		from = &flowtable{}
	}
	for _, d := range to.devices {
		if !slices.Contains(from.devices, d) {
			b.device(unix.NFT_MSG_NEWFLOWTABLE, unix.NLM_F_CREATE, to.name, d)
		}
	}
}

func (t *flowtable) same(o *flowtable) bool {
	if t == nil || o == nil {
		return t == o
	}
	return slices.Equal(t.devices, o.devices)
}

// list is the flowtable as nft lists it.
func (t *flowtable) list() string {
	text := fmt.Sprintf("\tflowtable %s {\n\t\thook ingress priority filter\n", t.name)
	if len(t.devices) > 0 {
		text += fmt.Sprintf("\t\tdevices = { %s }\n", strings.Join(t.devices, ", "))
	}
	return text + "\t}\n\n"
}

// parseFlowtable reads one as the kernel tells it.
func parseFlowtable(body []byte) *flowtable {
	t := &flowtable{name: nlmsg.Text(nlmsg.Find(body, nftaFlowtableName))}
	list := nlmsg.Attrs{Rest: nlmsg.Find(nlmsg.Find(body, nftaFlowtableHook), nftaFlowtableHookDevs)}
	for list.Next() {
		t.devices = append(t.devices, nlmsg.Text(list.Value))
	}
	slices.Sort(t.devices)
	return t
}

// flowtables reads those of the table; the kernel forgets a device that is gone.
func (a *Applier) flowtables() (list []*flowtable, err error) {
	err = a.w.dump(unix.NFT_MSG_GETFLOWTABLE, a.table, nftaFlowtableTable, func(body []byte) error {
		t := parseFlowtable(body)
		if !slices.ContainsFunc(list, func(o *flowtable) bool { return o.name == t.name }) {
			list = append(list, t)
		}
		return nil
	})
	return list, err
}

// deviceOwner is whom a complaint about a device is traced to; no service can be
// called so.
func deviceOwner(device string) string { return "device " + device }

// dropDevices takes the devices that the kernel complained about out of a job, and
// the complaints out of the list; it reports whether there were any. Offload is a
// help where it works: what arrives elsewhere is forwarded as ever.
func (a *Applier) dropDevices(j *job, bad map[string]error) (some bool) {
	for owner, err := range bad {
		name, ok := strings.CutPrefix(owner, "device ")
		if !ok {
			continue
		}
		some = true
		delete(bad, owner)
		for _, c := range j.list {
			for _, f := range []*fragment{c.from, c.to} {
				if f != nil && f.flow != nil {
					f.flow.devices = slices.DeleteFunc(f.flow.devices, func(d string) bool { return d == name })
				}
			}
		}
		a.log.Warn("no offload for what arrives on this device", "device", name, "because", err)
	}
	return some
}
