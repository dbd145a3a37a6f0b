// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// slowConsumer subscribes to everything and reads nothing. It lasts until the server
// has cut it off.
func (s *faultStand) slowConsumer() blow {
	s.t.Helper()
	server := s.busiest()
	before, err := server.varz()
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := s.lab.Balancer.DialContext(s.t.Context(), "tcp", strings.TrimPrefix(server.url(), "nats://"))
	if err != nil {
		s.t.Fatal(err)
	}
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	if _, err := io.WriteString(c, "CONNECT {\"verbose\":false}\r\nSUB > 1\r\nPING\r\n"); err != nil {
		s.t.Fatal(err)
	}
	stop := s.flood(server)
	return blow{end: func() {
		defer c.Close()
		s.untilWithin(2*time.Minute, server.name+" cuts off who reads nothing", func() error {
			v, err := server.varz()
			if err == nil && v.SlowConsumers <= before.SlowConsumers {
				err = errors.New("it counts no slow consumer")
			}
			return err
		})
		stop()
	}}
}

// replay has the vectors of some seconds come once more, after a while: as from a queue
// that was held up, but more of them, and into the midst of the new ones.
func (s *faultStand) replay(after time.Duration) blow {
	s.t.Helper()
	nc, err := nats.Connect(s.servers[0].url(), nats.SetCustomDialer(inNode{s.lab.Balancer}))
	if err != nil {
		s.t.Fatal(err)
	}
	sub, err := nc.SubscribeSync("steelyard.v1.weights." + faultGroup + ".*.*")
	if err != nil {
		s.t.Fatal(err)
	}
	wait(5 * time.Second)
	old, _, err := sub.Pending()
	if err != nil || old == 0 {
		s.t.Fatalf("%d vectors to send once more: %v", old, err)
	}
	wait(after)
	for range old {
		m, err := sub.NextMsg(time.Second)
		if err == nil {
			err = nc.Publish(m.Subject, m.Data)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		wait(10 * time.Millisecond)
	}
	s.t.Logf("%d old vectors were sent once more", old)
	return blow{end: nc.Close}
}

// flood publishes what only a subscriber to everything gets, until the returned
// function is called.
func (s *faultStand) flood(server *natsServer) (stop func()) {
	s.t.Helper()
	nc, err := nats.Connect(server.url(), nats.SetCustomDialer(inNode{s.lab.Balancer}))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		body := make([]byte, 16<<10)
		for ctx.Err() == nil {
			_ = nc.Publish("flood", body)
			wait(2 * time.Millisecond)
		}
	}()
	return func() {
		cancel()
		<-done
		nc.Close()
	}
}
