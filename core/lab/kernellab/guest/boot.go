// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// params are module parameters that are not the kernel's defaults: tables big
// enough that their chains stay short at the lab's thousands of connections.
var params = map[string]string{
	"nf_conntrack": "hashsize=262144",
	"ip_vs":        "conn_tab_bits=18",
}

// bringUp mounts what programs expect, and loads the modules.
func bringUp() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"}, {"tmpfs", "/tmp"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	for k, v := range map[string]string{"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "CI": "true", "KERNEL_LAB": "true"} {
		if err := os.Setenv(k, v); err != nil {
			return err
		}
	}
	if err := seedRandom(); err != nil {
		return err
	}
	if err := loadModules("/lab/modules"); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_max", []byte("1048576"), 0o644)
}

// seedRandom tells the kernel that it has entropy. The machine has none to offer,
// and a kernel without pays tens of thousands of instructions for each random
// number, of which every new connection takes one or more. The seed is always
// the same: so are the runs, then.
func seedRandom() error {
	f, err := os.OpenFile("/dev/urandom", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var seed struct { // struct rand_pool_info
		bits, bytes int32
		pool        [64]byte
	}
	seed.bits, seed.bytes = 8*int32(len(seed.pool)), int32(len(seed.pool))
	copy(seed.pool[:], "the kernel lab's seed, which is the same at every run")
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&seed))); e != 0 {
		return fmt.Errorf("seed the random numbers: %w", e)
	}
	return nil
}

func loadModules(dir string) error {
	order, err := os.ReadFile(dir + "/order")
	if err != nil {
		return err
	}
	for _, file := range strings.Fields(string(order)) {
		if err := loadModule(dir + "/" + file); err != nil {
			// A module may refuse this machine; whoever needs it will fail and say so.
			fmt.Printf("guest: load module %s: %v\n", file, err)
		}
	}
	return nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	name := strings.ReplaceAll(strings.TrimSuffix(path[strings.LastIndex(path, "/")+1:], ".ko"), "-", "_")
	err = unix.FinitModule(int(f.Fd()), params[name], 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	release, _, _ := bytes.Cut(u.Release[:], []byte{0})
	return string(release)
}

func uptime() time.Duration {
	return time.Duration(now()).Round(10 * time.Millisecond)
}

// now is the monotonic clock, in nanoseconds: instructions, where one takes one.
func now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // no such clock
	}
	return ts.Nano()
}
