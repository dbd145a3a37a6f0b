// SPDX-License-Identifier: Apache-2.0

// Command steelyard is a layer-4 load balancer: the daemon, its control
// commands, the demo and, hidden, the worker that runs policies.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // the zones of maintenance windows, for machines without them

	"github.com/steelyard-lb/steelyard/plugins"
)

// version is set by the Makefile.
var version = "devel"

func main() {
	// The worker must not carry any of the daemon's initialisation with it.
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		os.Exit(plugins.WorkerMain())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
