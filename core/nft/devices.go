// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/mdlayher/netlink"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// devices are the interfaces that a plan names, by name, with their numbers. The
// nil map is for those who only want to see the text: all interfaces are there.
type devices map[string]uint32

// Interfaces are those of this network namespace, by name; nil if nobody can list
// them.
func Interfaces() []string {
	list, err := net.Interfaces()
	if err != nil {
		return nil
	}
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	return names
}

// named are interfaces of which only the names are known; nil for nil.
func named(names []string) devices {
	if names == nil {
		return nil
	}
	d := devices{}
	for i, name := range names {
		d[name] = uint32(i + 1)
	}
	return d
}

func (d devices) has(name string) bool { return d == nil && name != "" || d[name] != 0 }

// lookDevices finds the interfaces that services without connection tracking need.
// One that is not there is left out.
func (a *Applier) lookDevices(services []core.ServicePlan) (devices, error) {
	found := devices{}
	seen := map[string]bool{"": true}
	look := func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		n, err := a.ifindex(name)
		if err == nil && n != 0 {
			found[name] = n
		}
		return err
	}
	for i := range services {
		s := &services[i]
		if !linked(s) {
			continue
		}
		for _, name := range s.Interfaces {
			if err := look(name); err != nil {
				return nil, err
			}
		}
		for k := range s.Backends {
			if err := look(s.Backends[k].Hop.Device); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// ifindex is the number of an interface in the Applier's network namespace; 0 if
// there is none of that name.
func (a *Applier) ifindex(name string) (uint32, error) {
	if len(name) >= unix.IFNAMSIZ {
		return 0, nil
	}
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.IFLA_IFNAME, name)
	attrs, err := ae.Encode()
	if err != nil {
		return 0, fmt.Errorf("look for interface %s: %w", name, err)
	}
	list, err := a.route.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request},
		Data:   append(make([]byte, unix.SizeofIfInfomsg), attrs...),
	})
	if errors.Is(err, unix.ENODEV) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for interface %s: %w", name, err)
	}
	for _, m := range list {
		if len(m.Data) >= unix.SizeofIfInfomsg {
			return binary.NativeEndian.Uint32(m.Data[4:]), nil // ifi_index
		}
	}
	return 0, nil
}
