// SPDX-License-Identifier: Apache-2.0

// Package nft makes the kernel carry a core.Plan: one nftables table, written
// over netlink, and nothing else of the ruleset.
//
// # What stands in the table
//
//	services4, services6   VIP . protocol . port : goto svc-<service>
//	svc-<service>          a chain of two rules: choose a backend, or refuse
//	w-<service>            the weights: slots of 0 to 65535 : address . port
//	conns4, conns6         one counter per backend, hit once per connection
//	masq4, masq6           the same for services that masquerade
//	refused-<service>      counts the first packets that found no backend
//	denied-<service>, …    a chain and a counter for each reason to turn away; see turn.go
//	prerouting, output     one lookup in services4 or services6
//	account                after the choice: count it, masquerade if asked to
//	marks, qos, bytes      every packet of services that ask for it: see packets.go
//	flows, offloads        a flowtable and what fills it: see offload.go
//
// Services without connection tracking (dsr and stateless) stand in a second table
// of the same name in the family netdev, which is there only while there are any:
// see link.go, and deal.go for how their flows stay where they are.
//
// [Render] prints the table as nft does. A service that runs out of backends
// has an empty weights map, so its choice falls through to the refusing rule:
// going empty is a matter of elements, never of rules.
//
// # What it promises
//
//   - Sync and Reweight are transactions: a packet sees all of one or none of
//     it. Success is reported after the commit, and after the weights that
//     changed were read back and found as wanted. A Sync of many services is
//     several transactions of up to 500 services each.
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
// Adopt, Sync, Reweight, Settle, Flush and Owned belong to one goroutine. Counters
// and Features may be called from any. Close ends both; it leaves the table in force.
//
// # What it does not do
//
// It sets no addresses, routes or sysctls, writes no marks but those that a service
// asks for, and never reads or changes another table. It does not watch: who wants drift repaired calls Sync.
package nft
