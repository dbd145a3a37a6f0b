// SPDX-License-Identifier: Apache-2.0

// Package nft makes the kernel carry a core.Plan: one nftables table, written
// over netlink, and nothing else of the ruleset. docs/dataplane.md shows the table.
//
// # From a plan to the kernel
//
//	check.go      what cannot be in the kernel is refused before it is tried
//	compile.go    a service becomes a fragment: chains, sets and elements of its own,
//	              and its elements in sets that all share; a feature has a file and a
//	              method of the compiler, such as persist.go, limit.go, source.go, qos.go
//	shared.go     what services need of the shared part: only that is there
//	weights.go    shares become intervals (random) or places of a table (distribute.go)
//	change.go     two fragments become the messages that lead from one to the other;
//	              advance.go orders them so that no packet misses anything meanwhile
//	apply.go      messages become transactions, and what the kernel refuses is led back
//	              to a service; sync.go is the whole plan, reweight.go only the weights
//	load.go       the table of the daemon before becomes fragments again: adoption
//
// A fragment (fragment.go) is plain data: rules (rule.go, operand.go), sets (set.go,
// dtype.go) and elements (element.go). Each clause of a rule is made once and yields
// both what the kernel gets and what nft prints, so that [Render] cannot drift from
// what is committed. Below that there are bytes: batch.go writes them, socket.go
// carries them, decode.go reads them.
//
// Services without connection tracking (dsr and stateless) stand in a second table
// of the same name in the family netdev, which is there only while there are any:
// see link.go, and deal.go for how their flows stay where they are.
//
// # What it promises
//
//   - Sync and Reweight are transactions: a packet sees all of one or none of
//     it. Success is reported after the commit, and after the weights that
//     changed were read back and found as wanted. A Sync of many services is
//     several transactions of up to 500 services each.
//   - A service that runs out of backends has an empty weights map, so its choice
//     falls through to the refusing rule: going empty is a matter of elements, never
//     of rules.
//   - A service that the kernel refuses keeps what it had; the other services
//     of the same call are applied. The reason is in the result, by service.
//   - What did not change is not touched: counters live on, through a restart
//     too ([Applier.Adopt]).
//   - Where the kernel has the table flags owner and persist (6.9 and later)
//     nobody else can change the table, and it outlives the process. Elsewhere
//     Sync notices a foreign change by the ruleset's generation and repairs it.
//
// # Concurrency
//
// All methods belong to one goroutine, but for Counters and Features, which any may
// call. Close ends both; it leaves the table in force.
//
// # What it does not do
//
// It sets no addresses, routes or sysctls, no packet marks but those that a service
// asks for, and never changes another table. It does not watch: who wants drift
// repaired calls Sync.
package nft
