// SPDX-License-Identifier: Apache-2.0

// Package admin is the control socket of a running steelyard: HTTP and JSON
// over a UNIX socket, a Server for the daemon and a Client for the commands.
//
//	GET  /v1/node                              core.NodeView
//	GET  /v1/services/{service}                core.ServiceView
//	GET  /v1/decisions?service=web&last=10     {"decisions": [core.Decision …]}, as the node orders them
//	GET  /v1/trace?service=web&backend=web1&probe=alive&timeout=30s  core.Trace, when the next sample has come to its end
//	POST /v1/backends/{service}/{backend}/override  core.OverrideRequest; core.OverrideResult, when it is in force, or why it is not
//	POST /v1/backends/{service}/{backend}/cut       CutView
//	GET  /v1/plan                              core.InForce: what is carried, secrets masked
//	GET  /v1/sessions?service=web&backend=web1&client=192.0.2.0/24&limit=100  SessionsAnswer
//	POST /v1/services/{service}/pin            core.PinRequest; core.PinResult, when it is in force
//	POST /v1/services/{service}/forget         ForgetRequest; ForgetView
//	POST /v1/reload                            core.ReloadResult, when it is done
//	POST /v1/stop?flush=true                   {"stopping": true, "flush": true}
//	GET  /v1/monitor?pattern=probe.web.>       a stream of lines, see Line
//	GET  /v1/recordings?service=web&service=api&follow=true  a stream of core.Recorded, one a line, oldest of a service first
//	POST /v1/metrics                           MetricsRequest; MetricsAnswer: what a monitor knows of backends
//	GET  /v1/version                           VersionView
//
// # Promises
//
// An error is always {"error": {"code", "message", "hint"}} with a fitting
// status. Who may use the socket is decided by its file mode, 0660, which is in
// force before the first connection can be made. A socket that another steelyard
// answers on is left alone; one that nobody answers on is replaced. A reader of
// the monitor that is slow loses messages and is told how many; it delays nobody. A
// follower of recordings that is slow misses those that the node has let go meanwhile;
// one that names its services is not slow because the node has many others.
//
// # What it does not do
//
// It listens on no network. It keeps no state: every answer is asked of the Node.
package admin
