// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/steelyard-lb/steelyard/core/lab"
)

const (
	nftlbKey  = "peers"
	nftlbPort = "5555"
)

// A farm is nftlb's word for a service, as its API spells it.
type farm struct {
	Name      string        `json:"name"`
	Family    string        `json:"family,omitempty"`
	VIP       string        `json:"virtual-addr,omitempty"`
	Ports     string        `json:"virtual-ports,omitempty"`
	Mode      string        `json:"mode,omitempty"`
	Protocol  string        `json:"protocol,omitempty"`
	Scheduler string        `json:"scheduler,omitempty"`
	State     string        `json:"state,omitempty"`
	Backends  []farmBackend `json:"backends"`
}

type farmBackend struct {
	Name   string `json:"name"`
	Addr   string `json:"ip-addr,omitempty"`
	Port   string `json:"port,omitempty"`
	Weight string `json:"weight"`
	State  string `json:"state,omitempty"`
}

func farmsJSON(farms []farm) []byte {
	raw, err := json.MarshalIndent(map[string][]farm{"farms": farms}, "", "\t")
	if err != nil {
		panic(err) // of strings only
	}
	return raw
}

// An nftlb is its daemon in the balancer of a lab.
type nftlb struct {
	node   *lab.Node
	config string
	proc   *lab.Process
	http   http.Client
}

func (b *bench) newNftlb(l *lab.Lab, farms []farm) (*nftlb, error) {
	n := &nftlb{node: l.Balancer, config: filepath.Join(b.dir, l.Name+".json")}
	n.http = http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{DialContext: l.Balancer.DialContext, DisableKeepAlives: true},
	}
	return n, os.WriteFile(n.config, farmsJSON(farms), 0o600)
}

// start starts the daemon and waits until it answers: it does so once all farms
// are in the kernel.
func (n *nftlb) start(ctx context.Context) (err error) {
	cmd := exec.Command("nftlb", "-c", n.config, "-k", nftlbKey, "-H", "127.0.0.1", "-P", nftlbPort, "-L", "2", "-l", "3")
	if n.proc, err = n.node.Start(cmd); err != nil {
		return err
	}
	return await(ctx, "nftlb", n.proc, func() error { return n.do(ctx, http.MethodGet, "farms", nil) })
}

func (n *nftlb) post(ctx context.Context, farms []farm) error {
	return n.do(ctx, http.MethodPost, "farms", farmsJSON(farms))
}

func (n *nftlb) do(ctx context.Context, method, path string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1:"+nftlbPort+"/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header["Key"] = []string{nftlbKey}
	resp, err := n.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(answer))
	}
	return nil
}

// rules is a chain as the kernel has it: nftlb answers "success" whatever
// happened.
func (n *nftlb) rules(ctx context.Context, farm string) ([]byte, error) {
	return n.node.Command(ctx, "nft", "list", "chain", "ip", "nftlb", "filter-"+farm)
}

// await waits until ask succeeds; the process must live meanwhile.
func await(ctx context.Context, what string, p *lab.Process, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.Done():
			return fmt.Errorf("start %s: it ended: %v", what, p.Err())
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w", what, err)
		}
	}
}

func farmName(i int) string { return fmt.Sprintf("s%03d", i) }

func text(i int) string { return strconv.Itoa(i) }
