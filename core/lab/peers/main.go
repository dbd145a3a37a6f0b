// SPDX-License-Identifier: Apache-2.0

// Command peers measures steelyard beside its peers, in the same run and on the
// same machine: nftlb's daemon for re-weighting and for a restart under traffic,
// haproxy in TCP mode for what a connection costs.
//
// Every measurement is done in turn for one and for the other, as often as -runs
// says, and the medians are compared. It needs root, and Debian's nftlb, haproxy
// and nftables; all of it happens in namespaces that are gone afterwards.
//
//	peers -steelyard bin/steelyard [-docs docs/benchmarks.md]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/core/lab"
)

// patience bounds the whole run.
const patience = 15 * time.Minute

// A bench is what all measurements share.
type bench struct {
	steelyard   string // path of the binary
	dir         string // for configurations, gone afterwards
	runs        int
	services    int // of re-weighting and restart
	backends    int // per service, of re-weighting
	connections int // per measurement
	log         io.Writer
}

func main() {
	if len(os.Args) > 1 {
		if child := children[os.Args[1]]; child != nil {
			exit(child(os.Args[2:]))
		}
	}
	var b bench
	var docs, only string
	flag.StringVar(&b.steelyard, "steelyard", "bin/steelyard", "the `binary` to measure")
	flag.IntVar(&b.runs, "runs", 5, "how often each measurement is repeated")
	flag.IntVar(&b.services, "services", 200, "services of re-weighting and restart")
	flag.IntVar(&b.backends, "backends", 16, "backends per service of re-weighting")
	flag.IntVar(&b.connections, "connections", 20_000, "connections per measurement")
	flag.StringVar(&docs, "docs", "", "Markdown `file` whose marked block is replaced")
	flag.StringVar(&only, "only", "", "only the measurement of that name: reweight, restart or connections")
	flag.Parse()
	b.log = os.Stderr
	exit(b.run(docs, only))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func (b *bench) run(docs, only string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := b.check(); err != nil {
		return err
	}
	var err error
	if b.dir, err = os.MkdirTemp("", "steelyard-peers-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	var rep report
	for _, m := range []struct {
		name string
		run  func(context.Context) (table, error)
	}{{"reweight", b.reweight}, {"restart", b.restart}, {"connections", b.connect}} {
		if only != "" && only != m.name {
			continue
		}
		t, err := m.run(ctx)
		if err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
		rep.tables = append(rep.tables, t)
	}
	rep.machine = machine(b.runs)
	fmt.Println(rep.text())
	if docs == "" || only != "" {
		return nil
	}
	return writeBlock(docs, rep.text())
}

// check finds out before anything is built what is missing.
func (b *bench) check() error {
	if b.runs < 1 || b.services < 1 || b.services > 1000 || b.backends < 2 || b.backends > 200 || b.connections < 100 {
		return errors.New("want at least 1 run, 1 to 1,000 services of 2 to 200 backends, and 100 connections")
	}
	errs := []error{lab.Available()}
	for _, name := range []string{"nftlb", "haproxy", "nft", b.steelyard} {
		if _, err := exec.LookPath(name); err != nil {
			errs = append(errs, fmt.Errorf("%w: run `make build`, and apt-get install nftlb haproxy nftables", err))
		}
	}
	return errors.Join(errs...)
}

// note tells the one who waits how far it is.
func (b *bench) note(format string, args ...any) { fmt.Fprintf(b.log, "# "+format+"\n", args...) }

// stage builds a lab of so many backends; the caller closes it.
func (b *bench) stage(ctx context.Context, name string, backends int) (*lab.Lab, error) {
	return lab.New(ctx, lab.Config{Name: fmt.Sprintf("peers%d-%s", os.Getpid(), name), Backends: backends})
}

// closing adds the error of a lab's end to that of what was done in it.
func closing(l *lab.Lab, err *error) { *err = errors.Join(*err, l.Close()) }
