// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// needKernel skips the test where it cannot run, and fails it there in CI: a
// green run must mean that the kernel agreed.
func needKernel(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		giveUp(t, "needs root for a network namespace")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		giveUp(t, "needs nft: %v", err)
	}
}

// giveUp skips the test, and fails it in CI.
func giveUp(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// inKernelLab reports whether this is a kernel of the kernel lab's, which is known to
// lack some parts and to have all others.
func inKernelLab() bool { return os.Getenv("KERNEL_LAB") != "" }

// newNetns gives the test a network namespace of its own. The thread is never
// unlocked, so that it dies with the test and takes the namespace along.
func newNetns(t testing.TB) {
	t.Helper()
	needKernel(t)
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare: %v", err)
	}
}

// open opens an Applier in the thread's namespace.
func open(t testing.TB, cfg Config) *Applier {
	t.Helper()
	a, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	a.spares = false // the same table on every kernel; TestSpares and the traffic tests have them
	return a
}

// mustSync applies a plan that must be taken whole.
func mustSync(t testing.TB, a *Applier, plan core.Plan) core.Commit {
	t.Helper()
	c, refused, err := a.Sync(context.Background(), plan)
	if err != nil || len(refused) > 0 {
		t.Fatalf("sync: %v, refused %v", err, refused)
	}
	return c
}

// nftOutput runs nft in the thread's namespace.
func nftOutput(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("nft", args...).CombinedOutput()
	needSend(t, out)
	if err != nil {
		t.Fatalf("nft %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// needSend skips where nft could not send a large table: it takes the privilege to
// enlarge its socket's buffer, which root of a user namespace has not. Our Applier
// does without: see TestSmallSendBuffer.
func needSend(t testing.TB, out []byte) {
	t.Helper()
	if strings.Contains(string(out), "Message too long") {
		giveUp(t, "nft may not send that much in a user namespace: run as root")
	}
}

// listTable is what nft lists of both tables.
func listTable(t testing.TB) string {
	list := nftOutput(t, "list", "table", "inet", DefaultTable)
	if strings.Contains(nftOutput(t, "list", "tables"), "netdev "+DefaultTable) {
		list += nftOutput(t, "list", "table", "netdev", DefaultTable)
	}
	return list
}

// service is a service for the tests: dnat, and reject when empty.
func service(name, vip string, p core.Protocol, backends ...core.BackendPlan) core.ServicePlan {
	ap := netip.MustParseAddrPort(vip)
	t := core.Simple(ap, p)
	return core.ServicePlan{Name: name, Traffic: &t, Backends: backends}
}

// with is s with other traffic; s stays as it is.
func with(s core.ServicePlan, edit func(*core.Traffic)) core.ServicePlan {
	t := *s.Traffic
	t.Frontends = slices.Clone(t.Frontends)
	edit(&t)
	s.Traffic, s.Backends = &t, slices.Clone(s.Backends)
	return s
}

// at puts the first frontend elsewhere.
func at(vip string) func(*core.Traffic) {
	return func(t *core.Traffic) {
		t.Frontends[0] = core.ExactFrontend(netip.MustParseAddrPort(vip), t.Frontends[0].Protocol)
	}
}

// forwarding has all backends of s forward that way.
func forwarding(s core.ServicePlan, f core.Forwarding) core.ServicePlan {
	s = with(s, func(t *core.Traffic) { t.Forwarding = f })
	for i := range s.Backends {
		s.Backends[i].Forwarding = f
	}
	return s
}

func backend(name, addr string, slots uint32) core.BackendPlan {
	return core.BackendPlan{Name: name, Addr: netip.MustParseAddrPort(addr), Slots: slots, Alive: slots > 0, Forwarding: core.DNAT}
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
