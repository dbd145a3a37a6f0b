// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// script is a policy in Lua that gives the backends these weights.
func script(weights string) string {
	return "function schedule(s)\n  return {" + weights + "}\nend\n"
}

// save puts a file into place as an editor does: under another name, then renamed.
func (r *rig) save(path, text string) {
	r.t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		r.t.Fatal(err)
	}
}

// events follows the events of the bus; the function has those heard so far. It
// returns once the monitor listens.
func (r *rig) events() func() string {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	var wg sync.WaitGroup
	var heard, events labtest.Log
	wg.Go(func() {
		_ = r.client.Monitor(ctx, ">", func(m admin.Line) error {
			if strings.Contains(m.Subject, ".event.") {
				_, _ = fmt.Fprintf(&events, "%s %s\n", m.Subject, m.Data)
			}
			_, err := heard.Write([]byte("x"))
			return err
		})
	})
	r.t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	r.until("the monitor listens", func() error {
		if heard.String() == "" {
			return errors.New("it has heard nothing")
		}
		return nil
	})
	return events.String
}

// says waits until a command prints all of these.
func (r *rig) says(command string, texts ...string) {
	r.t.Helper()
	r.until(fmt.Sprintf("%s says %q", command, texts), func() error {
		out, code := r.steelyard(strings.Fields(command)...)
		for _, text := range texts {
			if code != 0 || !strings.Contains(out, text) {
				return fmt.Errorf("exit %d, no %q in\n%s", code, text, out)
			}
		}
		return nil
	})
}

func contains(of func() string, texts ...string) func() error {
	return func() error {
		all := of()
		for line := range strings.Lines(all) {
			found := true
			for _, text := range texts {
				found = found && strings.Contains(line, text)
			}
			if found {
				return nil
			}
		}
		return fmt.Errorf("no line with %q in\n%s", texts, all)
	}
}

// inNode dials from a node, for NATS.
type inNode struct{ *lab.Node }

func (n inNode) Dial(network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return n.DialContext(ctx, network, addr)
}

// monitor returns how to publish metrics of a backend of web over NATS.
func (r *rig) monitor(t *testing.T) func(backend string, metrics map[string]float64) {
	t.Helper()
	nc, err := nats.Connect("nats://127.0.0.1:4222", nats.UserInfo("zabbix", "secret"), nats.SetCustomDialer(inNode{r.lab.Balancer}), nats.CustomInboxPrefix("_INBOX_zabbix"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return func(backend string, metrics map[string]float64) {
		t.Helper()
		values := map[string]map[string]any{}
		for name, v := range metrics {
			values[name] = map[string]any{"value": v, "unit": "jobs"}
		}
		for _, service := range []string{"web", "other"} {
			body, err := json.Marshal(map[string]any{"v": 1, "src": "zabbix", "ts": time.Now(), "service": service, "backend": backend, "probe": "app", "metrics": values})
			if err == nil {
				err = nc.Publish("steelyard.v1.metric.zabbix."+service+"."+backend+".app", body)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}
