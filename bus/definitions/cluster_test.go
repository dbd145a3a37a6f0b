// SPDX-License-Identifier: Apache-2.0

package definitions_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/bus/definitions"
)

// TestStoreOfACluster: the store is kept three times; where most of the servers are gone,
// it says so and blocks nobody for long.
func TestStoreOfACluster(t *testing.T) {
	t.Parallel() // elections take seconds
	var ports, routes []int
	var urls, peers []string
	for i := range 3 {
		ports, routes = append(ports, bustest.FreePort(t)), append(routes, bustest.FreePort(t))
		urls, peers = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[i])), append(peers, fmt.Sprintf("nats://127.0.0.1:%d", routes[i]))
	}
	var stop []func()
	for i := range 3 {
		stop = append(stop, bustest.Serve(t, ports[i], fmt.Sprintf("server_name: n%d\ncluster {name: c, listen: \"127.0.0.1:%d\", routes: [%s]}\n",
			i, routes[i], strings.Join(peers, ", "))+jetStream(t.TempDir())))
	}
	nc, err := nats.Connect(urls[0])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	d := definitions.New(definitions.Config{Group: "edge", Node: "lb1", Servers: urls})
	defer d.Close()
	tryPush := func() error {
		_, err := d.Push(t.Context(), []byte("services"), map[string][]byte{"p": []byte("policy")}, definitions.Revision{}, definitions.AnyRevision)
		return err
	}
	slowly := func(what string, ok func() error) {
		t.Helper()
		var err error
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			if err = ok(); err == nil {
				return
			}
		}
		t.Fatalf("not within a minute: %s: %v", what, err)
	}
	// A leader may know two servers when the third is still to come, and has no place for
	// three replicas then.
	slowly("JetStream has three servers", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "three", Replicas: 3})
		return err
	})
	slowly("the first push", tryPush)
	for _, name := range []string{"KV_STEELYARD_edge", "OBJ_STEELYARD_edge"} {
		if s, err := js.Stream(t.Context(), name); err != nil || s.CachedInfo().Config.Replicas != 3 {
			t.Errorf("%s: %v, want three replicas", name, err)
		}
	}
	stop[1]()
	stop[2]()
	slowly("a push says what is missing", func() error {
		err := tryPush()
		if err != nil && strings.Contains(err.Error(), "more than half of its servers run") {
			return nil
		}
		return fmt.Errorf("the push ends with %v", err)
	})
}
