// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus/bustest"
)

// serverCount is the smallest cluster that survives the loss of a server.
const serverCount = 3

// A server is one nats-server of the cluster.
type server struct {
	pid     int
	url     string
	monitor string // http://…
}

// startCluster runs three servers that know one another.
func startCluster(t testing.TB) []server {
	t.Helper()
	var routes []string
	var ports [serverCount]int
	for i := range ports {
		ports[i] = bustest.FreePort(t)
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
	}
	var out []server
	for i := range ports {
		port, monitor := bustest.FreePort(t), bustest.FreePort(t)
		s := bustest.StartServer(t, port, nil, "-n", fmt.Sprint("nats", i+1), "-m", strconv.Itoa(monitor),
			"--cluster_name", "scale", "--cluster", routes[i], "--routes", strings.Join(routes, ","))
		out = append(out, server{s.Process.Pid, fmt.Sprintf("nats://127.0.0.1:%d", port), fmt.Sprintf("http://127.0.0.1:%d", monitor)})
	}
	for _, s := range out {
		until(t, "the servers find one another", func() bool { return s.ask(t).Routes == serverCount-1 })
	}
	return out
}

// until waits for what will come.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// counts are what a server says of itself, from its start.
type counts struct {
	In       int64 `json:"in_msgs"` // from clients and other servers
	Out      int64 `json:"out_msgs"`
	InBytes  int64 `json:"in_bytes"`
	OutBytes int64 `json:"out_bytes"`
	Slow     int64 `json:"slow_consumers"`
	Routes   int   `json:"routes"`
}

// A route is what a server says of its link with another.
type route struct {
	Subs     int   `json:"subscriptions"` // of the other server's clients; each pattern once
	In       int64 `json:"in_msgs"`
	Out      int64 `json:"out_msgs"`
	InBytes  int64 `json:"in_bytes"`
	OutBytes int64 `json:"out_bytes"`
}

func (s server) ask(t testing.TB) (c counts) {
	t.Helper()
	s.get(t, "/varz", &c)
	return c
}

// clients is ask without what goes between servers, which routed is.
func (s server) clients(t testing.TB) (c, routed counts) {
	t.Helper()
	c = s.ask(t)
	for _, r := range s.routes(t) {
		c.In, c.Out, c.InBytes, c.OutBytes = c.In-r.In, c.Out-r.Out, c.InBytes-r.InBytes, c.OutBytes-r.OutBytes
		routed.In, routed.Out, routed.InBytes, routed.OutBytes = routed.In+r.In, routed.Out+r.Out, routed.InBytes+r.InBytes, routed.OutBytes+r.OutBytes
	}
	return c, routed
}

func (s server) routes(t testing.TB) []route {
	t.Helper()
	var links struct {
		Routes []route `json:"routes"`
	}
	s.get(t, "/routez", &links)
	return links.Routes
}

// knowAll reports whether all servers know of all that the nodes of a group hear, one of
// which is at each server in turn. quiet is what they know without them: see interest.
func (z Size) knowAll(t testing.TB, servers []server, quiet int) bool {
	t.Helper()
	subs, wanted := 0, 0
	for _, s := range servers {
		var list struct {
			Connections []struct {
				Subs int `json:"subscriptions"`
			} `json:"connections"`
		}
		s.get(t, "/connz", &list)
		for _, c := range list.Connections {
			subs += c.Subs
		}
	}
	at := make([]map[string]bool, len(servers))
	for i := range at {
		at[i] = map[string]bool{}
	}
	for node := range z.Nodes {
		for _, patterns := range z.patterns(node) {
			wanted += len(patterns)
			for _, p := range patterns {
				at[node%len(servers)][p] = true
			}
		}
	}
	linked := 0
	for _, patterns := range at {
		linked += len(patterns) * (len(servers) - 1)
	}
	return subs >= wanted && interest(t, servers) >= quiet+linked
}

// interest is to how many patterns the links between servers are subscribed together.
func interest(t testing.TB, servers []server) (sum int) {
	t.Helper()
	for _, s := range servers {
		for _, r := range s.routes(t) {
			sum += r.Subs
		}
	}
	return sum
}

func (s server) get(t testing.TB, path string, into any) {
	t.Helper()
	r, err := http.Get(s.monitor + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// processorTime is what a process has used so far, to 10 ms.
func processorTime(t testing.TB, pid int) (sum time.Duration) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), ") ") // the name may have spaces
	for _, f := range strings.Fields(after)[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	return sum
}

// resident is the memory of a process in MB.
func resident(t testing.TB, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return float64(pages*int64(os.Getpagesize())) / 1e6
}
