// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/core/lab"
)

// children are what this program does in the nodes of a lab, where it is run
// again: each has a CPU clock of its own.
var children = map[string]func(args []string) error{"serve": serve, "load": load}

const (
	serverPort  = 8080
	parallel    = 16 // connections at a time
	dialTimeout = 5 * time.Second
)

// serve answers each connection with one byte and closes it.
func serve(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: serve ADDRESS")
	}
	ln, err := net.Listen("tcp4", args[0])
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			var b [1]byte
			_ = c.SetDeadline(time.Now().Add(dialTimeout))
			if _, err := c.Read(b[:]); err == nil {
				_, _ = c.Write(b[:])
			}
		}()
	}
}

// A loadResult is what the load says of itself.
type loadResult struct {
	Failed int64         `json:"failed"`
	Took   time.Duration `json:"took_ns"`
	CPU    time.Duration `json:"cpu_ns"`
}

// load makes n connections from a few workers, to each address in turn: one byte
// there, one back, and the server closes.
func load(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: load N ADDRESS [MORE ADDRESSES]")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	addrs := args[1:]
	for i := range parallel {
		_ = exchange(addrs[i%len(addrs)]) // neighbours are resolved, pages are touched
	}
	var left, failed atomic.Int64
	left.Store(int64(n))
	cpu, began := ownCPU(), time.Now()
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for {
				i := left.Add(-1)
				if i < 0 {
					return
				}
				if exchange(addrs[i%int64(len(addrs))]) != nil {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return json.NewEncoder(os.Stdout).Encode(loadResult{failed.Load(), time.Since(began), ownCPU() - cpu})
}

func exchange(addr string) error {
	c, err := net.DialTimeout("tcp4", addr, dialTimeout)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	if _, err := c.Write([]byte{'x'}); err != nil {
		return err
	}
	got, err := io.ReadAll(c)
	if err == nil && len(got) != 1 {
		err = fmt.Errorf("%d bytes came back, want 1", len(got))
	}
	return err
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// startServers runs a server in every backend.
func startServers(l *lab.Lab) (servers []*lab.Process, err error) {
	for _, n := range l.Backends {
		addr := net.JoinHostPort(n.Addr4.String(), text(serverPort))
		p, err := n.Start(exec.Command("/proc/self/exe", "serve", addr))
		if err != nil {
			return nil, err
		}
		servers = append(servers, p)
	}
	return servers, nil
}
