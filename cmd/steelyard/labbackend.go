// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// backendHeader names the backend that answered.
const backendHeader = "X-Backend"

// A labBackend is one backend of the demo: a web server whose requests cost
// real CPU time, with a quota, and an SNMP agent that shows what is used of it.
type labBackend struct {
	name      string
	listen    string
	snmp      string // empty for no agent
	community string
	work      time.Duration
	share     float64
}

func newLabBackendCommand() *cobra.Command {
	var b labBackend
	cmd := &cobra.Command{
		Use:    "lab-backend",
		Short:  "Serve HTTP under a CPU quota, with an SNMP agent beside it (used by demo)",
		Long:   "Serve HTTP under a CPU quota, with an SNMP agent beside it.\nSIGUSR1 halves the quota, SIGUSR2 restores it. /healthz costs nothing and never waits.",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.share <= 0 || b.work <= 0 {
				return fmt.Errorf("--quota %g --work %s: both must be above 0", b.share, b.work)
			}
			return b.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&b.name, "name", "backend", "name sent in the header "+backendHeader)
	f.StringVar(&b.listen, "listen", ":80", "address of the web server")
	f.StringVar(&b.snmp, "snmp", ":161", "address of the SNMP agent; empty for none")
	f.StringVar(&b.community, "community", "public", "SNMP community")
	f.DurationVar(&b.work, "work", time.Millisecond, "CPU time that a request costs")
	f.Float64Var(&b.share, "quota", 0.3, "CPU time per time, as a share of one core")
	return cmd
}

func (b labBackend) run(ctx context.Context) error {
	// One core, so that a probe of health never waits for more than one request.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(1000) // less of the quota for what serves nobody
	q := newQuota(b.share, time.Now(), processCPU())
	web, err := net.Listen("tcp", b.listen)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	if b.snmp != "" {
		conn, err := net.ListenPacket("udp", b.snmp)
		if err != nil {
			return errors.Join(err, web.Close())
		}
		agent := &probestest.Agent{Conn: conn, Community: b.community, Objects: func() map[string]probestest.Value {
			books, _ := q.look(time.Now(), processCPU())
			return books.snmp().Objects()
		}}
		g.Go(func() error { return agent.Run(ctx) })
	}
	g.Go(func() error { return b.serve(ctx, web, q) })
	g.Go(func() error { return b.obey(ctx, q) })
	return g.Wait()
}

func (b labBackend) serve(ctx context.Context, l net.Listener, q *quota) error {
	srv := &http.Server{Handler: b.handler(q), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (b labBackend) handler(q *quota) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(backendHeader, b.name)
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if q.run(r.Context(), func() { burn(b.work) }) != nil {
			return // the client is gone
		}
		w.Header().Set(backendHeader, b.name)
		_, _ = fmt.Fprintf(w, "hello from %s\n", b.name)
	})
	return mux
}

// obey changes the quota on signals.
func (b labBackend) obey(ctx context.Context, q *quota) error {
	signals := make(chan os.Signal, 4) // a human's pace; more are dropped
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-signals:
			share := b.share
			if s == syscall.SIGUSR1 {
				share /= 2
			}
			q.setShare(share, time.Now(), processCPU())
		}
	}
}

// snmp shows the books as a machine with one core would, in ticks of 1/100 s.
func (b cpuBooks) snmp() probestest.CPU {
	ticks := func(d time.Duration) uint32 { return uint32(d / (10 * time.Millisecond)) }
	return probestest.CPU{User: ticks(b.user), System: ticks(b.system), Idle: ticks(b.idle), Cores: 1}
}
