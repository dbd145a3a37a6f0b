// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// parent is the daemon's process id, known before the filter hides it.
var parent = os.Getppid()

// escapes are what code that has taken a worker over would try. Each must fail.
var escapes = []struct {
	name string
	try  func(target string) error
}{
	{"open /etc/passwd", opens("/etc/passwd")},
	{"open /", opens("/")},
	{"open the parent's environment", func(string) error { return opens(fmt.Sprintf("/proc/%d/environ", parent))("") }},
	{"open the parent's memory", func(string) error { return opens(fmt.Sprintf("/proc/%d/mem", parent))("") }},
	{"create a file", func(string) error { return os.WriteFile("/tmp/steelyard-escape", nil, 0o600) }},
	{"make a TCP socket", makesSocket(unix.AF_INET, unix.SOCK_STREAM)},
	{"make a UNIX socket", makesSocket(unix.AF_UNIX, unix.SOCK_STREAM)},
	{"make a netlink socket", makesSocket(unix.AF_NETLINK, unix.SOCK_RAW)},
	{"make a raw socket", makesSocket(unix.AF_PACKET, unix.SOCK_RAW)},
	{"connect to a port of this machine", func(target string) error {
		c, err := net.Dial("tcp", target)
		if err == nil {
			_ = c.Close() // it is bad enough
		}
		return err
	}},
	{"signal the parent", func(string) error { return syscall.Kill(parent, 0) }},
	{"signal a thread of the parent", func(string) error { return unix.Tgkill(parent, parent, 0) }},
	{"trace the parent", func(string) error { return syscall.PtraceAttach(parent) }},
	{"read the parent's memory", func(string) error {
		b := make([]byte, 8)
		local := []unix.Iovec{{Base: &b[0], Len: 8}}
		_, err := unix.ProcessVMReadv(parent, local, []unix.RemoteIovec{{Base: 4096, Len: 8}}, 0)
		return err
	}},
	{"mount", func(string) error { return unix.Mount("none", "/mnt", "tmpfs", 0, "") }},
	{"unshare", func(string) error { return unix.Unshare(unix.CLONE_NEWUSER) }},
	{"run a program", func(string) error { return syscall.Exec("/proc/self/exe", []string{"x"}, nil) }},
	{"start a program", func(string) error { return exec.Command("/bin/true").Run() }},
	{"fork", func(string) error {
		_, _, e := syscall.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
		if e == 0 {
			return nil
		}
		return e
	}},
	{"become root", func(string) error {
		if os.Getuid() == 0 {
			return nil
		}
		_, _, e := unix.RawSyscall(unix.SYS_SETUID, 0, 0, 0)
		if e == 0 {
			return nil
		}
		return e
	}},
	{"get rid of its limits", func(string) error {
		return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	}},
	{"take memory that no limit sees", func(string) error {
		_, err := unix.Mmap(-1, 0, 1<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
		return err
	}},
	{"take memory behind the shared page", func(string) error {
		n, err := unix.Write(fdProgress, make([]byte, 2*progressSize))
		if err == nil && n <= progressSize {
			return fmt.Errorf("only %d bytes were taken", n)
		}
		return err
	}},
	{"open a BPF program", func(string) error {
		_, _, e := unix.Syscall(unix.SYS_BPF, 0, 0, 0)
		return e
	}},
}

func opens(path string) func(string) error {
	return func(string) error {
		f, err := os.Open(path)
		if err == nil {
			_ = f.Close() // it is bad enough
		}
		return err
	}
}

func makesSocket(domain, kind int) func(string) error {
	return func(string) error {
		fd, err := unix.Socket(domain, kind, 0)
		if err == nil {
			_ = unix.Close(fd) // as above
		}
		return err
	}
}

// tryEscapes is a worker that tries them all, once it is confined, and tells in
// its hello what became of each.
func tryEscapes(target string) int {
	return run(func(how string) string {
		report := how
		for _, e := range escapes {
			result := "done"
			if err := e.try(target); err != nil {
				result = err.Error()
			}
			report += fmt.Sprintf("\n%s: %s", e.name, result)
		}
		return report
	})
}

// TestNothingToReach runs code in a confined worker that tries to get out.
func TestNothingToReach(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := Start(context.Background(), []string{"/proc/self/exe", "escape", l.Addr().String()}, DefaultMemory)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	how, report, _ := strings.Cut(p.How(), "\n")
	t.Log(how)
	lines := strings.Split(report, "\n")
	if len(lines) != len(escapes) {
		t.Fatalf("%d results of %d:\n%s", len(lines), len(escapes), report)
	}
	// Without one of these there are fewer walls, and a test that says so.
	confined := strings.Contains(how, "seccomp") && strings.Contains(how, "landlock")
	if !confined && os.Getenv("CI") != "" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64") {
		t.Fatalf("confined by %s only, and CI must not skip the rest", how)
	}
	for _, line := range lines {
		t.Log(line)
		if confined && strings.HasSuffix(line, ": done") {
			t.Errorf("the worker could %s", line)
		}
	}
}

// TestPageIsSealed: where there is no filter of system calls either, nobody makes
// the page that is shared with a worker smaller, which would end the parent, or
// larger.
func TestPageIsSealed(t *testing.T) {
	p, f, err := newProgress()
	if err != nil {
		t.Fatal(err)
	}
	defer p.unmap()
	defer f.Close()
	if f.Truncate(0) == nil || f.Truncate(2*progressSize) == nil {
		t.Error("the page can be cut off, or grow")
	}
	if n, _ := f.WriteAt(make([]byte, 2*progressSize), 0); n > progressSize {
		t.Errorf("%d bytes could be written to a page of %d", n, progressSize)
	}
	p.set(7)
	if p.get() != 7 {
		t.Error("the page does not take a number")
	}
}

// TestFilterIsLoaded reads from the kernel that every thread is filtered.
func TestFilterIsLoaded(t *testing.T) {
	p := start(t)
	if !strings.Contains(p.How(), "seccomp") {
		if os.Getenv("CI") != "" {
			t.Fatal("no filter of system calls: ", p.How())
		}
		t.Skip("this kernel has no filters of system calls")
	}
	proc := "/proc/" + strconv.Itoa(p.PID()) + "/task/"
	tasks, err := os.ReadDir(proc)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile(proc + task.Name() + "/status")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(status), "Seccomp:\t2\n") {
			t.Errorf("thread %s is not filtered", task.Name())
		}
	}
}
