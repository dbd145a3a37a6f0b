// SPDX-License-Identifier: Apache-2.0

// Package ops is the HTTP listener for the people and programs around a steelyard:
// metrics for Prometheus, health for whoever moves a VIP, and a way in for
// monitoring systems that do not speak NATS.
//
//	GET  /metrics             text exposition format; right read
//	GET  /healthz             200 while the event loop turns; for everyone
//	GET  /readyz              200 or 503; ?verbose tells each check and asks for the right read
//	POST /v1/metrics          numbers about backends; right push
//	POST /v1/alerts           webhook of Alertmanager; right push
//
// docs/http.md describes them with examples, docs/metrics.md each metric.
//
// # Promises
//
// A user publishes under its own name only. What comes in can never decide health.
// One page of /metrics is made at a time; who asks meanwhile gets the next one
// together with all who do. A page has at most Config.MaxSeries series: a family that
// does not fit is left out whole, the least important first, and counted. A listener
// that cannot be had stops nothing: it is told as an event and tried again.
//
// # What it does not do
//
// It changes nothing in the balancer: that is what the control socket is for. It
// listens beyond the loopback only with TLS and users.
package ops
