// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/lab"
)

// inside marks the test binary that Main started in its own user namespace.
const inside = "STEELYARD_LABTEST_INSIDE"

var count atomic.Uint64

// built is the directory that Steelyard made, if it did.
var built atomic.Pointer[string]

// New builds a lab and closes it when the test is over. An empty name becomes
// one of its own.
func New(t testing.TB, cfg lab.Config) *lab.Lab {
	t.Helper()
	Need(t)
	if cfg.Name == "" {
		cfg.Name = fmt.Sprintf("t%d-%d", os.Getpid(), count.Add(1))
	}
	l, err := lab.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	return l
}

// Need skips the test where no lab can be built, or fails it if CI is set.
func Need(t testing.TB) {
	t.Helper()
	err := lab.Available()
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("CI is set, so this test must run: %v", err)
	default:
		t.Skipf("needs network namespaces: %v", err)
	}
}

// Main runs a package's tests; call it from TestMain as
// os.Exit(labtest.Main(m)). A user who is not root gets the tests run again in
// a user namespace where they are root, if the kernel allows that; otherwise
// the tests run as they are, and Need decides.
func Main(m *testing.M) int {
	defer func() {
		if dir := built.Load(); dir != nil {
			_ = os.RemoveAll(*dir)
		}
	}()
	if os.Getenv(inside) != "" {
		if err := prepareInside(); err != nil {
			fmt.Fprintln(os.Stderr, "labtest:", err)
			return 1
		}
		return m.Run()
	}
	if os.Geteuid() == 0 {
		return m.Run()
	}
	code, err := runInside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "labtest: no user namespace:", err)
		return m.Run()
	}
	return code
}

func runInside() (int, error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// prepareInside gives this mount namespace a /run of its own, where the lab
// keeps the names of its namespaces, and takes the loopback up, for tests that
// need no lab.
func prepareInside() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return nil
}
