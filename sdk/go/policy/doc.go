// SPDX-License-Identifier: Apache-2.0

// Package policy is what the author of a scheduling policy for steelyard
// writes against. A policy looks at a Snapshot of one service and gives each
// backend a weight; only the ratios of the weights matter.
//
//	func init() {
//		policy.Register(policy.Policy{Name: "idle", Schedule: idle})
//	}
//
//	func idle(s *policy.Snapshot) error {
//		for i := range s.Len() {
//			if cpu, ok := s.Backend(i).CPU(); ok {
//				s.SetWeight(i, max(1-cpu, 0.05))
//			} else {
//				s.Hold(i)
//			}
//		}
//		return nil
//	}
//
//	func main() {}
//
// Build it with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o idle.wasm .
//
// The same source builds for the machine it is written on, where Policy.Run
// takes an encoded snapshot: tests and simulations need no WASM.
//
// # What a policy may rely on
//
// Backends come in a fixed order, and each has an ID that stays the same when
// others come and go. State lives with the host: the slots of BackendState and
// ServiceState are zero at first, and are kept only if the call succeeded.
// Variables of the program may be lost between two calls at any time, and are
// shared by all services that use the policy: keep nothing in them.
//
// A reading that is not known is not zero: the second result says so. Custom
// metrics, such as a queue's length that a probe or a monitor publishes, are
// named in Policy.Metrics and read with Snapshot.Metric.
//
// # What a policy cannot do
//
// It has no network, no file, no clock and no environment: time is in the
// snapshot. It has 50 ms of CPU time and 32 MiB of memory. It cannot bring a
// dead backend back: health is a gate that the host keeps. An error, a panic
// or a call that takes too long leaves the weights in force as they were.
//
// Calls allocate nothing unless Schedule does.
package policy
