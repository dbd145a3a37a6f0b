// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// ownerEnv makes the test binary a lab's owner that another test kills.
const ownerEnv = "STEELYARD_LAB_TEST_OWNER"

func TestMain(m *testing.M) {
	if name := os.Getenv(ownerEnv); name != "" {
		os.Exit(own(name))
	}
	os.Exit(labtest.Main(m))
}

func TestClientReachesBackends(t *testing.T) {
	l := labtest.New(t, lab.Config{Backends: 2, IPv6: true})
	for _, b := range l.Backends {
		for _, addr := range []netip.Addr{b.Addr4, b.Addr6} {
			ap := netip.AddrPortFrom(addr, 80).String()
			ln, err := b.Listen("tcp", ap)
			if err != nil {
				t.Fatal(err)
			}
			from := exchange(t, l.Client, ln, ap)
			if want := l.Client.Addr4; addr.Is4() && from != want {
				t.Errorf("backend saw client %s, want %s", from, want)
			}
		}
	}
}

func TestClientReachesVIP(t *testing.T) {
	l := labtest.New(t, lab.Config{Backends: 1, IPv6: true})
	extra := netip.MustParseAddr("203.0.113.77")
	if err := l.AddVIP(extra); err != nil {
		t.Fatal(err)
	}
	for _, vip := range []netip.Addr{l.VIP4, l.VIP6, extra} {
		ap := netip.AddrPortFrom(vip, 8080).String()
		ln, err := l.Balancer.Listen("tcp", ap)
		if err != nil {
			t.Fatal(err)
		}
		exchange(t, l.Client, ln, ap)
	}
}

// exchange sends one byte from the node to the listener and returns the address
// that the listener saw.
func exchange(t *testing.T, from *lab.Node, ln net.Listener, addr string) netip.Addr {
	t.Helper()
	defer ln.Close()
	seen := make(chan netip.Addr, 1)
	go func() {
		defer close(seen)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := io.CopyN(io.Discard, c, 1); err == nil {
			seen <- c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := from.DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	return <-seen
}

func TestCloseLeavesNothing(t *testing.T) {
	l := labtest.New(t, lab.Config{Backends: 1, Grace: 100 * time.Millisecond})
	if got := namespaces(t, l.Name); len(got) != 3 {
		t.Fatalf("namespaces %q, want 3", got)
	}
	// One that SIGTERM ends, and one that ignores it and has a child.
	polite := start(t, l.Backends[0], "echo $$; exec sleep 60")
	deaf := start(t, l.Client, "trap '' TERM; sleep 60 & echo $!; wait; sleep 60")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if running(polite) {
		t.Error("the process still runs")
	}
	awaitEnd(t, deaf) // a grandchild: the kernel may still be busy killing it
	if got := namespaces(t, l.Name); len(got) != 0 {
		t.Errorf("namespaces %q are left", got)
	}
	if _, err := os.Stat("/run/steelyard-lab/" + l.Name + ".json"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record is left: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if err := l.Client.Do(func() error { return nil }); err == nil {
		t.Error("a node of a closed lab could be entered")
	}
	if _, err := l.Client.Start(exec.Command("true")); err == nil {
		t.Error("a process was started in a closed lab")
	}
}

// start runs a shell script that prints a process id first, and returns it.
func start(t *testing.T, n *lab.Node, script string) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout = w
	_, err = n.Start(cmd)
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// running tells a living process from one that nobody has waited for yet.
func running(pid string) bool {
	raw, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	rest := string(raw[strings.LastIndexByte(string(raw), ')')+1:])
	return !strings.HasPrefix(rest, " Z") && !strings.HasPrefix(rest, " X")
}

func namespaces(t *testing.T, name string) []string {
	t.Helper()
	found, err := filepath.Glob("/run/netns/sy-" + name + "-*")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestNameInUse(t *testing.T) {
	l := labtest.New(t, lab.Config{Backends: 1})
	_, err := lab.New(t.Context(), lab.Config{Name: l.Name, Backends: 1})
	if want := fmt.Sprintf("in use by process %d", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("second lab of the same name: %v, want %q", err, want)
	}
	if _, err := lab.Remove(l.Name); err == nil {
		t.Error("a living lab was removed")
	}
	if got := namespaces(t, l.Name); len(got) != 3 {
		t.Errorf("namespaces %q, want the 3 of the first lab", got)
	}
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []lab.Config{
		{Name: "", Backends: 1}, {Name: "Up", Backends: 1}, {Name: "a/b", Backends: 1},
		{Name: "x", Backends: 0}, {Name: "x", Backends: lab.MaxBackends + 1},
	} {
		if _, err := lab.New(t.Context(), cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

func TestProcess(t *testing.T) {
	l := labtest.New(t, lab.Config{Backends: 1})
	p, err := l.Client.Start(exec.Command("sh", "-c", "exit 7"))
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	var exit *exec.ExitError
	if !errors.As(p.Err(), &exit) || exit.ExitCode() != 7 {
		t.Errorf("process ended with %v, want exit status 7", p.Err())
	}
	if err := p.Signal(syscall.SIGTERM); err == nil {
		t.Error("a process that had ended was signalled")
	}
	out, err := l.Client.Command(t.Context(), "ip", "-br", "addr", "show", "dev", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "192.0.2.2/24") {
		t.Errorf("the command ran somewhere else: %s", out)
	}
}

// own builds a lab with a process in it, prints that process's id, and waits
// to be killed.
func own(name string) int {
	detached := strings.HasPrefix(name, "kept")
	l, err := lab.New(context.Background(), lab.Config{Name: name, Backends: 1, Detached: detached})
	if err == nil {
		var p *lab.Process
		if p, err = l.Client.Start(exec.Command("sleep", "60")); err == nil {
			if detached {
				err = l.Release()
			}
			fmt.Println(p.PID)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if detached {
		return 0
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

func TestOwnerKilled(t *testing.T) {
	labtest.Need(t)
	name := fmt.Sprintf("killed%d", os.Getpid())
	owner, pid := startOwner(t, name)
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	awaitEnd(t, pid)
	if got := namespaces(t, name); len(got) != 3 {
		t.Fatalf("namespaces %q, want the 3 that the dead owner left", got)
	}
	labtest.New(t, lab.Config{Backends: 1}) // of another name
	if got := namespaces(t, name); len(got) != 0 {
		t.Errorf("namespaces %q are left", got)
	}
}

func TestRelease(t *testing.T) {
	labtest.Need(t)
	name := fmt.Sprintf("kept%d", os.Getpid())
	owner, pid := startOwner(t, name)
	if err := owner.Wait(); err != nil {
		t.Fatal(err)
	}
	if !running(pid) {
		t.Error("the process died with the owner")
	}
	if got := namespaces(t, name); len(got) != 3 {
		t.Errorf("namespaces %q, want 3", got)
	}
	labtest.New(t, lab.Config{Backends: 1})
	if !running(pid) {
		t.Error("a lab that was released went with the stale ones")
	}
	for _, want := range []bool{true, false} {
		found, err := lab.Remove(name)
		if err != nil || found != want {
			t.Fatalf("remove: found %t, %v; want %t", found, err, want)
		}
	}
	if got := namespaces(t, name); len(got) != 0 || running(pid) {
		t.Errorf("left after remove: %q, process running: %t", got, running(pid))
	}
}

func startOwner(t *testing.T, name string) (*exec.Cmd, string) {
	t.Helper()
	owner := exec.Command("/proc/self/exe", "-test.run=^$")
	owner.Env = append(os.Environ(), ownerEnv+"="+name)
	owner.Stderr = os.Stderr
	if _, err := owner.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	pid, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return owner, strings.TrimSpace(pid)
}

func awaitEnd(t *testing.T, pid string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); running(pid); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("process %s outlived its owner", pid)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	labtest.Need(b)
	for b.Loop() {
		l, err := lab.New(b.Context(), lab.Config{Name: fmt.Sprintf("bench%d", os.Getpid()), Backends: 3, IPv6: true})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
