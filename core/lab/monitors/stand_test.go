// SPDX-License-Identifier: Apache-2.0

package monitors

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

const recipes = "../../../examples/07-monitors"

// A stand is the example's steelyard, over two backends, with all its files at hand.
type stand struct {
	t        *testing.T
	lab      *lab.Lab
	node     *lab.Node // where steelyard and the monitors run
	dir      string    // a copy of the example
	client   *admin.Client
	log      *labtest.Log
	patience time.Duration
}

func newStand(t *testing.T) *stand {
	t.Helper()
	labtest.NeedPrograms(t, "curl")
	l := labtest.New(t, lab.Config{Backends: 2, Grace: 300 * time.Millisecond})
	// Not below a directory that only its owner may enter: some monitors are other users.
	dir, err := os.MkdirTemp("/run", "steelyard-monitors")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &stand{t: t, lab: l, node: l.Balancer, dir: dir, log: &labtest.Log{}, patience: time.Minute}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", s.log)
		}
	})
	s.copyRecipes()
	s.client = admin.NewClient(s.path("control.sock"))
	s.start(s.node, labtest.Steelyard(t), "run", "-c", s.path("steelyard.yaml"),
		"--set", "state_dir="+s.path("state"), "--set", "control.socket="+s.path("control.sock"), "--set", "node=lb1")
	s.until("steelyard answers", func() error {
		_, err := s.client.Node(t.Context())
		return err
	})
	return s
}

// copyRecipes has the lab's addresses in them, and a pace for tests.
func (s *stand) copyRecipes() {
	s.t.Helper()
	edit := strings.NewReplacer("10.0.0.11", s.lab.Backends[0].Addr4.String(), "10.0.0.12", s.lab.Backends[1].Addr4.String(),
		"scrape_interval: 15s", "scrape_interval: 1s", "evaluation_interval: 15s", "evaluation_interval: 1s",
		"for: 30s", "for: 1s", "group_interval: 10s", "group_interval: 1s", "/etc/nagios4/steelyard-event", s.path("nagios/steelyard-event"),
		",steelyard show", ","+labtest.Steelyard(s.t)+" --socket "+s.path("control.sock")+" show")
	s.must(os.CopyFS(s.dir, os.DirFS(recipes)))
	s.must(os.Chmod(s.dir, 0o755))
	s.must(filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(edit.Replace(string(raw))), 0)
	}))
}

func (s *stand) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stand) path(name string) string { return filepath.Join(s.dir, name) }

// start runs a program until the test ends, with its output in the log.
func (s *stand) start(n *lab.Node, name string, args ...string) *lab.Process {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, s.log, s.log
	p, err := n.Start(cmd)
	s.must(err)
	return p
}

// run runs a program of the example to its end, with these variables.
func (s *stand) run(env []string, name string, args ...string) {
	s.t.Helper()
	out, err := s.node.Command(s.t.Context(), "env", append(append(env, name), args...)...)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
}

// until waits for ok to return nil.
func (s *stand) until(what string, ok func() error) {
	s.t.Helper()
	var err error
	for deadline := time.Now().Add(s.patience); time.Now().Before(deadline); wait(50 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	s.t.Fatalf("%s: %v", what, err)
}

// wait lets real processes do something.
func wait(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	<-ctx.Done()
}

// troubled waits until the policy goes by this much trouble of a backend.
func (s *stand) troubled(backend string, want float64) {
	s.t.Helper()
	s.until(fmt.Sprintf("the policy knows of trouble %g at %s", want, backend), func() error {
		list, err := s.client.Decisions(s.t.Context(), "web", 1)
		if err != nil {
			return err
		}
		for _, d := range list {
			for _, b := range d.Backends {
				for _, in := range b.Inputs {
					if b.Backend == backend && in.Metric == "trouble" {
						if in.Known && in.Value == want {
							return nil
						}
						return fmt.Errorf("it knows of %+v", in)
					}
				}
			}
		}
		return errors.New("it has no such input")
	})
}

// http is a client inside the node.
func (s *stand) http() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: s.node.DialContext, DisableKeepAlives: true}, Timeout: 5 * time.Second}
}
