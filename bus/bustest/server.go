// SPDX-License-Identifier: Apache-2.0

package bustest

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startPatience is how long a server may take to start on a busy machine.
const startPatience = 20 * time.Second

// A Server is a real nats-server in a process of its own.
type Server struct {
	Process *os.Process
	// Stop ends it at once and waits. It may be called twice, and is when the test ends.
	Stop func()
}

// StartServer runs the distribution's nats-server on a port of 127.0.0.1 and waits until
// it is ready. watch is shown each line of its log; nil: nobody. args are further ones of
// the command. Without a nats-server the test is skipped on a laptop and fails in CI.
func StartServer(t testing.TB, port int, watch func(line string), args ...string) *Server {
	t.Helper()
	cmd := exec.Command(natsServer(t), append([]string{"-a", "127.0.0.1", "-p", fmt.Sprint(port)}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	s := &Server{Process: cmd.Process, Stop: func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}}
	t.Cleanup(s.Stop)
	ready := make(chan bool, 1) // one answer
	go func() {
		said := false
		for r := bufio.NewScanner(out); r.Scan(); {
			if watch != nil {
				watch(r.Text())
			}
			if strings.Contains(r.Text(), "Server is ready") && !said {
				said = true
				ready <- true
			}
		}
		if !said {
			ready <- false
		}
	}()
	select {
	case ok := <-ready:
		if !ok {
			t.Fatal("nats-server ended before it was ready")
		}
	case <-time.After(startPatience):
		t.Fatalf("nats-server was not ready within %v", startPatience)
	}
	return s
}

// Serve is StartServer with a configuration. If the test fails, what the server said is
// in its log.
func Serve(t testing.TB, port int, config string) (stop func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return ServeFile(t, port, file)
}

// ServeFile is Serve with the configuration that a file holds.
func ServeFile(t testing.TB, port int, file string) (stop func()) {
	t.Helper()
	var mu sync.Mutex
	var said []string
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		if t.Failed() {
			t.Logf("nats-server said:\n%s", strings.Join(said, "\n"))
		}
	})
	return StartServer(t, port, func(line string) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, line)
	}, "-c", file).Stop
}

func natsServer(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"nats-server", "/usr/sbin/nats-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("nats-server is not installed; apt-get install nats-server")
	}
	t.Skip("nats-server is not installed")
	return ""
}

// FreePort is a TCP port of 127.0.0.1 that nobody listens on now. The kernel gives it to
// no connection and to no listener that leaves the choice to it, so it stays free; and a
// client that tries it again and again does not meet itself there.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 10_000+rand.N(22_000))) // net.ipv4.ip_local_port_range begins at 32768
		if err == nil {
			defer l.Close()
			return l.Addr().(*net.TCPAddr).Port
		}
	}
	t.Fatal("no port is free")
	return 0
}
