// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
)

// patterns are to what a node subscribes, by connection: one for samples, one for all else.
func (z Size) patterns(node int) [2][]string {
	control := []string{bus.Prefix + ".node." + Group + ".*", bus.Prefix + ".weights." + Group + ".*.*"}
	for _, i := range z.Hears(node) {
		control = append(control, bus.Prefix+".flows."+Group+"."+ServiceName(i)+".*")
	}
	return [2][]string{{bus.Prefix + ".probe.*.*.*.*", bus.Prefix + ".metric.>"}, control}
}

// listenTo subscribes as a node does, and hears without reading: to the servers it is a
// node, and to this machine it is hardly any work.
func (z Size) listenTo(t testing.TB, s server, node int) {
	t.Helper()
	for _, patterns := range z.patterns(node) {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "nats://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		var hello strings.Builder
		hello.WriteString("CONNECT {\"verbose\":false,\"echo\":true}\r\n")
		for i, p := range patterns {
			fmt.Fprintf(&hello, "SUB %s %d\r\n", p, i+1)
		}
		if _, err := io.WriteString(c, hello.String()); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, c) }()
		go func() {
			for { // the server asks now and then; nobody reads when
				if _, err := io.WriteString(c, "PONG\r\n"); err != nil {
					return
				}
				time.Sleep(10 * time.Second)
			}
		}()
	}
}

// A hearing is what a node of this package heard.
type hearing struct {
	Samples, Presences, Vectors, Flows uint64
	Dropped                            uint64 // of all of them
}

// all is how many messages came.
func (h hearing) all() uint64 { return h.Samples + h.Presences + h.Vectors + h.Flows + h.Dropped }

// nodeVar makes the test binary the first node of a group, which only hears: at this URL,
// in a group of so many nodes and services.
const nodeVar = "STEELYARD_SCALE_NODE"

func TestMain(m *testing.M) {
	if what := os.Getenv(nodeVar); what != "" {
		if err := hear(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// hear is what a node does with the bus, without the engine behind it. It says when it is
// ready, and what it has heard whenever it is sent a line.
func hear(what string) error {
	var url string
	var z Size
	if _, err := fmt.Sscan(what, &url, &z.Nodes, &z.Services); err != nil {
		return fmt.Errorf("%s: %w", nodeVar, err)
	}
	b, err := bus.Start(context.Background(), bus.Options{Node: "listener", Servers: []string{url}})
	if err != nil {
		return err
	}
	defer b.Close()
	var samples, presences, vectors, flows atomic.Uint64
	_, e1 := b.SubscribeSamples(func(core.Sample) { samples.Add(1) })
	_, e2 := b.SubscribePresences(Group, func(core.Presence) { presences.Add(1) })
	_, e3 := b.SubscribeVectors(Group, func(core.Vector) { vectors.Add(1) })
	choose, _, e4 := b.SubscribeFlows(Group, func(core.FlowReport) { flows.Add(1) })
	e5 := choose(z.services(0), false)
	for _, err := range []error{e1, e2, e3, e4, e5} {
		if err != nil {
			return err
		}
	}
	fmt.Println("ready")
	answers := json.NewEncoder(os.Stdout)
	for asked := bufio.NewScanner(os.Stdin); asked.Scan(); {
		s := b.Stats()
		err := answers.Encode(hearing{samples.Load(), presences.Load(), vectors.Load(), flows.Load(),
			s.Late + s.Repeated + s.Invalid + s.Mismatched + s.Crowded + s.Overflowed})
		if err != nil {
			return err
		}
	}
	return nil
}

// services are the names of Hears.
func (z Size) services(node int) (names []string) {
	for _, i := range z.Hears(node) {
		names = append(names, ServiceName(i))
	}
	return names
}

// A listener is a process that hears by the bus package.
type listener struct {
	pid int
	in  io.Writer
	out *json.Decoder
}

func (z Size) startListener(t testing.TB, s server) *listener {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", nodeVar, s.url, z.Nodes, z.Services))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var word [6]byte // "ready\n"
	if _, err := io.ReadFull(out, word[:]); err != nil {
		t.Fatalf("the listener did not start: %v", err)
	}
	return &listener{cmd.Process.Pid, in, json.NewDecoder(out)}
}

// heard is what it has heard so far.
func (l *listener) heard(t testing.TB) (h hearing) {
	t.Helper()
	_, err := io.WriteString(l.in, "\n")
	if err == nil {
		err = l.out.Decode(&h)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}
