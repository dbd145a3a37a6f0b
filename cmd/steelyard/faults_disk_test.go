// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/bus/definitions"
	"github.com/steelyard-lb/steelyard/core/lab"
)

// fullDisks fills the file systems under JetStream. A push is refused then and says why;
// nodes go on.
func (s *faultStand) fullDisks() blow {
	s.t.Helper()
	s.untilWithin(startPatience, "a push while there is room", func() error { return s.push("first") })
	for _, n := range s.servers {
		s.fill(n)
	}
	s.untilWithin(startPatience, "a push to a full disk is refused", func() error {
		err := s.push(strings.Repeat("x", 1<<20))
		if err == nil {
			return errors.New("it was stored")
		}
		s.t.Logf("a push to a full disk: %v", err)
		return nil
	})
	return blow{end: func() {
		for _, n := range s.servers {
			s.signal(n.proc, syscall.SIGKILL)
			<-n.proc.Done()
			n.start()
		}
		s.untilWithin(startPatience, "a push when there is room again", func() error { return s.push("second") })
	}}
}

// fill leaves no byte of a server's store, from outside of its mount namespace.
func (s *faultStand) fill(n *natsServer) {
	s.t.Helper()
	f, err := os.Create(filepath.Join(fmt.Sprintf("/proc/%d/root", n.proc.PID), n.store(), "fill"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for written := 0; ; written += len(block) {
		_, err := f.Write(block)
		if errors.Is(err, syscall.ENOSPC) {
			s.t.Logf("%s: %d kB filled the disk", n.name, written>>10)
			return
		}
		if err != nil || written > 64<<20 {
			s.t.Fatalf("fill the disk of %s: %v", n.name, err)
		}
	}
}

// outside makes an address of a lab's node reachable from this process: nats.go dials
// from goroutines of its own.
func (s *faultStand) outside(ctx context.Context, wg *sync.WaitGroup, from *lab.Node, to string) string {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { relay(ctx, c, from, to) })
		}
	})
	return l.Addr().String()
}

// relay joins a connection with another one, which it opens from a node.
func relay(ctx context.Context, c net.Conn, from *lab.Node, to string) {
	defer c.Close()
	o, err := from.DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	defer o.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = c.Close()
		_ = o.Close()
	})
	defer stop()
	go func() {
		_, _ = io.Copy(o, c)
		_ = o.Close()
	}()
	_, _ = io.Copy(c, o)
}

// push stores definitions as `steelyard push` does.
func (s *faultStand) push(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	inner, stop := context.WithCancel(ctx)
	defer stop()
	var urls []string
	for _, n := range s.servers {
		urls = append(urls, "nats://"+s.outside(inner, &wg, s.lab.Balancer, strings.TrimPrefix(n.url(), "nats://")))
	}
	d := definitions.New(definitions.Config{Group: faultGroup, Node: "ops", Servers: urls})
	defer d.Close()
	_, err := d.Push(ctx, []byte("services: {}\n"), map[string][]byte{"policy.lua": []byte(text)}, definitions.Revision{}, definitions.AnyRevision)
	return err
}
