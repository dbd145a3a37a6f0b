// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"time"
)

// MaxBackends is how many backends fit into the address plan.
const MaxBackends = 200

// DefaultGrace is how long Close waits for a process after SIGTERM.
const DefaultGrace = 2 * time.Second

// A Config says what to build.
type Config struct {
	// Name is part of every namespace's name: 1 to 32 lower-case letters, digits
	// and dashes. A second living lab of the same name is an error.
	Name     string
	Backends int  // 1 to MaxBackends
	IPv6     bool // give every node an IPv6 address as well
	// Detached lets processes and namespaces outlive the owner once Release was
	// called. Without it they die with the owner, however it ends.
	Detached bool
	Grace    time.Duration // between SIGTERM and SIGKILL; zero means DefaultGrace
}

// A Lab is a running lab. Its methods may be called from any goroutine.
type Lab struct {
	Name     string
	Client   *Node
	Balancer *Node
	Backends []*Node

	// VIP4 and VIP6 are addresses of the balancer that clients are routed to.
	// VIP6 is the zero Addr without IPv6.
	VIP4, VIP6 netip.Addr

	ipv6    bool
	grace   time.Duration
	record  *record
	spawner *spawner
}

var nameRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,31})$`)

// New builds the lab. Before that it removes the labs of dead owners, and one of
// the same name that was released. On error nothing stays behind.
func New(ctx context.Context, cfg Config) (*Lab, error) {
	if !nameRE.MatchString(cfg.Name) {
		return nil, fmt.Errorf("build lab %q: the name must be 1 to 32 of a-z, 0-9 and -", cfg.Name)
	}
	if cfg.Backends < 1 || cfg.Backends > MaxBackends {
		return nil, fmt.Errorf("build lab %s: %d backends, want 1 to %d", cfg.Name, cfg.Backends, MaxBackends)
	}
	removeStale()
	rec, err := claim(cfg.Name)
	if err != nil {
		return nil, fmt.Errorf("build lab %s: %w", cfg.Name, err)
	}
	l := &Lab{
		Name: cfg.Name, ipv6: cfg.IPv6, record: rec,
		grace:   cfg.Grace,
		spawner: startSpawner(cfg.Detached),
	}
	if l.grace == 0 {
		l.grace = DefaultGrace
	}
	if err := l.build(ctx, cfg); err != nil {
		return nil, fmt.Errorf("build lab %s: %w", cfg.Name, errors.Join(err, l.Close()))
	}
	return l, nil
}

// Nodes are all nodes: client, balancer, backends.
func (l *Lab) Nodes() []*Node {
	var nodes []*Node
	for _, n := range append([]*Node{l.Client, l.Balancer}, l.Backends...) {
		if n != nil {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// Close ends every process, removes every namespace and forgets the lab. It is
// safe to call it again.
func (l *Lab) Close() error {
	l.spawner.stopAll(l.grace)
	var errs []error
	for _, n := range l.Nodes() {
		errs = append(errs, n.remove())
	}
	errs = append(errs, l.record.forget())
	return errors.Join(errs...)
}

// Release gives up ownership of a Detached lab and leaves all of it running.
// Remove takes it down later, and so does New with the same name. Close after
// Release does nothing.
func (l *Lab) Release() error {
	if !l.spawner.detached {
		return fmt.Errorf("release lab %s: it was not built to outlive its owner", l.Name)
	}
	if err := l.record.orphan(); err != nil {
		return fmt.Errorf("release lab %s: %w", l.Name, err)
	}
	l.spawner.release()
	for _, n := range l.Nodes() {
		n.release()
	}
	return nil
}
