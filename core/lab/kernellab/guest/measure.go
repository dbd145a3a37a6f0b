// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/steelyard-lb/steelyard/core/lab/kernellab"
)

// Packets per repetition: as many as budget instructions last for, within
// bounds. More would repeat no better, and take longer.
const (
	budget     = 80_000_000
	minPackets = 256
	maxPackets = 8192
	firstTry   = 256 // packets that find out how long one takes
)

// settle is how long the guest rests before it measures, for what the kernel
// still has to do after the set-up. The guest's clock jumps over idle time, so
// this costs nothing.
const settle = 5 * time.Second

// count measures every case that the job asks for.
func count(out *results, j job) error {
	debug.SetGCPercent(-1) // collected by hand, between measurements
	var errs []error
	for _, services := range j.services {
		for _, c := range cases() {
			if !c.at(services) {
				continue
			}
			if err := c.count(out, j, services); err != nil {
				err = fmt.Errorf("%s at %d services: %w", c.name, services, err)
				fmt.Println("guest:", err)
				errs = append(errs, err, out.add(kernellab.Result{Case: c.name, Services: services, Error: err.Error()}))
			}
			runtime.GC()
		}
	}
	return errors.Join(errs...)
}

func (c *benchCase) count(out *results, j job, services int) error {
	var traffic []kernellab.Traffic
	for _, t := range c.traffic {
		if j.only.MatchString(fmt.Sprintf("%s at %d, %s", c.name, services, t)) {
			traffic = append(traffic, t)
		}
	}
	if len(traffic) == 0 {
		return nil
	}
	w, err := newWorld()
	if err != nil {
		return fmt.Errorf("make network: %w", err)
	}
	began := now()
	done, err := c.setUp(w, services)
	if err != nil {
		return errors.Join(fmt.Errorf("set up: %w", err), w.close())
	}
	fmt.Printf("guest: %s at %d services: set up in %v\n", c.name, services, time.Duration(now()-began).Round(time.Millisecond))
	for _, t := range traffic {
		m := &meter{world: w, c: c, services: services}
		res := kernellab.Result{Case: c.name, Services: services, Traffic: t}
		if res.Packets, res.Counts, err = m.measure(t, j.reps); err != nil {
			err = fmt.Errorf("%s: %w", t, err)
			break
		}
		fmt.Printf("guest: %-30s %5d services  %-11s %9.0f ± %.2f %%  %d × %d packets\n", c.name, services, t,
			kernellab.Median(res.Counts), 50*kernellab.Spread(res.Counts), j.reps, res.Packets)
		if err = out.add(res); err != nil {
			break
		}
	}
	if done != nil {
		err = errors.Join(err, done())
	}
	return errors.Join(err, w.close())
}

// A meter measures one kind of traffic in one world.
type meter struct {
	*world
	c        *benchCase
	services int
	runs     int // so that no two use the same connections
}

// measure returns how many packets a repetition had, and the instructions per
// packet of each.
func (m *meter) measure(t kernellab.Traffic, reps int) (packets int, counts []float64, err error) {
	if t == kernellab.Established {
		if err := m.establish(); err != nil {
			return 0, nil, fmt.Errorf("establish: %w", err)
		}
	} else if err := m.trip(m.newFlow(0, 1), false); err != nil {
		return 0, nil, err
	}
	// Twice without looking: the first makes the kernel fetch memory, and tells
	// how many packets the second, and all that count, should have.
	each, err := m.once(t, firstTry)
	if err != nil {
		return 0, nil, err
	}
	packets = min(max(int(budget/each), minPackets), maxPackets)
	if m.c.warm && t == kernellab.New {
		if _, err = m.once(t, m.services*backends); err != nil {
			return 0, nil, err
		}
	}
	if t == kernellab.New {
		for left := m.c.fill; left > 0; left -= maxPackets {
			if _, err = m.once(t, min(left, maxPackets)); err != nil {
				return 0, nil, err
			}
		}
	}
	if _, err = m.once(t, packets); err != nil {
		return 0, nil, err
	}
	for range reps {
		if each, err = m.once(t, packets); err != nil {
			return 0, nil, err
		}
		counts = append(counts, each)
	}
	return packets, counts, nil
}

// errPutOff says that a repetition has to be made again.
var errPutOff = errors.New("the kernel went on with the packets after the sender was done, time and again")

// once repeats try, for the rare time that the kernel puts work off.
func (m *meter) once(t kernellab.Traffic, n int) (each float64, err error) {
	for range 10 {
		each, err = m.try(t, n)
		if !errors.Is(err, errPutOff) {
			break
		}
	}
	return each, err
}

// try sends n packets and returns the instructions per packet. All of them have
// to leave towards the backends.
func (m *meter) try(t kernellab.Traffic, n int) (float64, error) {
	m.runs++
	if t == kernellab.New {
		if err := m.in(m.balancer, flushConntrack); err != nil {
			return 0, err
		}
	}
	s, err := m.newSender(m.packets(t, n))
	if err != nil {
		return 0, err
	}
	defer closeFD(s.fd)
	runtime.GC()
	time.Sleep(settle)
	before, err := m.arrived()
	if err != nil {
		return 0, err
	}
	took, err := s.run()
	if err != nil {
		return 0, err
	}
	at, err := m.arrived()
	if err != nil {
		return 0, err
	}
	if at-before == uint64(n) {
		return float64(took) / float64(n), nil
	}
	// Some were still on their way, because the kernel had put the rest of the
	// work off to a thread of its own. They do not count, but must arrive.
	time.Sleep(settle)
	if at, err = m.arrived(); err != nil {
		return 0, err
	}
	if at-before != uint64(n) {
		return 0, fmt.Errorf("%d packets were sent and %d left for the backends", n, at-before)
	}
	return 0, errPutOff
}

// packets are n packets of a kind; the same one stands there many times if they
// are of one connection.
func (m *meter) packets(t kernellab.Traffic, n int) [][]byte {
	list := make([][]byte, n)
	one := packet(m.theFlow())
	for i := range list {
		list[i] = one
		if t == kernellab.New {
			list[i] = packet(m.newFlow(i, n))
		}
	}
	return list
}

// target is where clients of a service connect to.
func (m *meter) target(service int) netip.AddrPort {
	if m.c.plain {
		return netip.AddrPortFrom(backendAddr(service%backends), backPort)
	}
	return netip.AddrPortFrom(vip(service), vipPort)
}

// newFlow is the i-th of n connections of this run, spread evenly over the services.
func (m *meter) newFlow(i, n int) flow {
	service := i % m.services
	if m.services > n {
		service = i * m.services / n
	}
	// Another client each time, unless they are to be known; and a port that it has
	// not had, nor another client in this run: masquerading would look for one.
	client := i
	if !m.c.known {
		client += m.runs * maxPackets
	}
	port := uint16(10000 + (i+m.runs*maxPackets)%50000)
	return flow{netip.AddrPortFrom(plus(clientNet.Masked().Addr(), 256+client%(1<<20-512)), port), m.target(service)}
}

// theFlow is the connection of all established packets: of a service in the middle.
func (m *meter) theFlow() flow {
	return flow{netip.AddrPortFrom(theClient, 9999), m.target(m.services / 2)}
}

// arrived counts the packets that left the balancer for the backends.
func (m *meter) arrived() (n uint64, err error) {
	err = m.in(m.balancer, func() error {
		l, err := netlink.LinkByName("b1")
		if err == nil {
			n = l.Attrs().Statistics.TxPackets
		}
		return err
	})
	return n, err
}
