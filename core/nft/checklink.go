// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"fmt"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// checkLink refuses what cannot be had without connection tracking.
func checkLink(s *core.ServicePlan) error {
	switch l := s.Limits; {
	case len(s.Interfaces) == 0:
		return errors.New("no interface that clients' packets arrive on")
	case s.Seed == 0:
		return errors.New("a seed of 0 makes the kernel take one of its own")
	case s.FlowTimeout <= 0:
		return fmt.Errorf("a flow timeout of %v", s.FlowTimeout)
	case s.Persistence.Timeout > 0 || len(s.Pins) > 0:
		return errors.New("persistence needs connection tracking; the hash of the client's address keeps it on a backend, too")
	case l != core.Limits{Clients: l.Clients, Answer: l.Answer}:
		return errors.New("limits need connection tracking")
	case s.Hairpin || len(s.MasqueradeFor) > 0:
		return errors.New("hairpin and masquerading need connection tracking")
	case s.Helper != "" || s.Offload || s.Bytes:
		return errors.New("helpers, offload and counting of bytes need connection tracking")
	case s.QoS.Active() || slices.ContainsFunc(s.Backends, func(b core.BackendPlan) bool { return b.QoS.Active() }):
		return errors.New("marks for quality of service need connection tracking")
	}
	for _, name := range s.Interfaces {
		if err := checkDevice(name); err != nil {
			return err
		}
	}
	if s.Forwarding == core.Stateless {
		return checkStateless(s)
	}
	return checkDSR(s)
}

// checkDevice refuses a name that no interface can have, or that would not make a
// chain's.
func checkDevice(name string) error {
	if len(name) >= unix.IFNAMSIZ {
		return fmt.Errorf("interface %s: a name of %d bytes: want at most %d", name, len(name), unix.IFNAMSIZ-1)
	}
	if err := checkName(name); err != nil {
		return fmt.Errorf("interface %q: %w", name, err)
	}
	return nil
}

func checkDSR(s *core.ServicePlan) error {
	var device [2]string
	for i := range s.Backends {
		b := &s.Backends[i]
		if b.Hop == (core.Hop{}) {
			continue
		}
		if err := checkDevice(b.Hop.Device); err != nil {
			return fmt.Errorf("backend %s: %w", b.Name, err)
		}
		first := &device[index(b.Addr.Addr().Is6())]
		if *first == "" {
			*first = b.Hop.Device
		}
		if b.Hop.Device != *first {
			return fmt.Errorf("backend %s is reached by %s and another by %s: the backends of a service with dsr have to be on one network", b.Name, b.Hop.Device, *first)
		}
	}
	return nil
}

// checkStateless refuses services whose answers could not be told: there must be
// one address and port that an answer can be of.
func checkStateless(s *core.ServicePlan) error {
	keeps := len(s.Backends) > 0 && s.Backends[0].Addr.Port() == 0
	for i := range s.Backends {
		b := &s.Backends[i]
		if b.Addr.Port() != s.Backends[0].Addr.Port() {
			return fmt.Errorf("backends %s and %s have different ports, which stateless forwarding cannot write", s.Backends[0].Name, b.Name)
		}
	}
	for i, f := range s.Frontends {
		if !f.VIP.IsSingleIP() {
			return fmt.Errorf("%v is a network: an answer could be of any of its addresses", f)
		}
		if f.Protocol == core.SCTP && !keeps {
			return errors.New("the checksum of sctp covers its ports and nftables cannot mend it: let the backends keep the client's port")
		}
		for _, o := range s.Frontends[:i] {
			same := o.Addr().Is6() == f.Addr().Is6()
			switch {
			case same && o.Addr() != f.Addr():
				return fmt.Errorf("an answer could be of %v or of %v: want one address of a family", o, f)
			case !keeps && o.Protocol == f.Protocol && (same || o.Ports != f.Ports):
				return fmt.Errorf("an answer could be of %v or of %v: let the backends keep the client's port", o, f)
			}
		}
		if !keeps && !f.Ports.Single() {
			return fmt.Errorf("an answer could be of any port of %v: let the backends keep the client's port", f)
		}
	}
	return nil
}

// takeAnswers gives a stateless service the answers of its backends, or says whose
// they are: by them alone it is known what to make of an answer.
func (o *owners) takeAnswers(s *core.ServicePlan) error {
	if s.Forwarding != core.Stateless {
		return nil
	}
	var list []core.Frontend
	for _, f := range s.Frontends {
		for i := range s.Backends {
			b := &s.Backends[i]
			if b.Addr.Addr().Is6() != f.Addr().Is6() {
				continue
			}
			span := answerSpan(f, b)
			if holder, ok := o.holder(s.Name, span); ok {
				return fmt.Errorf("service %s: answers from %v are those of service %s, which is stateless, too", s.Name, span, holder)
			}
			list = append(list, span)
		}
	}
	for _, span := range list {
		o.put(s.Name, span)
	}
	return nil
}

// checkLinkDevices refuses what the interfaces do not let happen.
func checkLinkDevices(s *core.ServicePlan, dev devices) error {
	for _, name := range s.Interfaces {
		if !dev.has(name) {
			return fmt.Errorf("service %s: interface %s is not there: its packets would pass unseen", s.Name, name)
		}
	}
	return nil
}
