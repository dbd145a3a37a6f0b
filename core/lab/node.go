// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where ip(8) looks for named namespaces.
const netnsDir = "/run/netns"

// A Node is one namespace of a lab.
type Node struct {
	Name      string     // short: client, lb, b1, …
	Namespace string     // as `ip netns` lists it
	Addr4     netip.Addr // of the balancer: the side that faces the client
	Addr6     netip.Addr // the zero Addr without IPv6

	lab *Lab

	mu sync.Mutex
	ns netns.NsHandle // guarded by mu; closed once the node is gone
}

// Do runs f with the calling goroutine's thread inside the node. Goroutines
// that f starts are not inside; sockets and processes that f itself opens are.
func (n *Node) Do(f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter node %s: %w", n.Name, err)
	}
	defer home.Close()
	if err := n.enter(); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		// A thread that cannot go home stays locked, and dies with its goroutine
		// rather than serve another one from the wrong network.
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// enter moves the calling thread into the node.
func (n *Node) enter() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ns.IsOpen() {
		return fmt.Errorf("enter node %s: the lab is closed", n.Name)
	}
	if err := netns.Set(n.ns); err != nil {
		return fmt.Errorf("enter node %s: %w", n.Name, err)
	}
	return nil
}

// Listen opens a listener inside the node. The address must be literal.
func (n *Node) Listen(network, addr string) (l net.Listener, err error) {
	err = n.Do(func() error {
		l, err = net.Listen(network, addr)
		return err
	})
	return l, err
}

// ListenPacket opens a datagram socket inside the node. The address must be
// literal.
func (n *Node) ListenPacket(network, addr string) (c net.PacketConn, err error) {
	err = n.Do(func() error {
		c, err = net.ListenPacket(network, addr)
		return err
	})
	return c, err
}

// DialContext connects from inside the node; it fits http.Transport. The
// address must be literal: a name could resolve to several addresses, which
// Go would try from other threads.
func (n *Node) DialContext(ctx context.Context, network, addr string) (c net.Conn, err error) {
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, fmt.Errorf("dial from node %s: %w", n.Name, err)
	}
	err = n.Do(func() error {
		var d net.Dialer
		c, err = d.DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// Command is exec.CommandContext run to its end inside the node; it returns
// what the command wrote to both outputs.
func (n *Node) Command(ctx context.Context, name string, args ...string) ([]byte, error) {
	var out []byte
	err := n.Do(func() (err error) {
		out, err = exec.CommandContext(ctx, name, args...).CombinedOutput()
		return err
	})
	if err != nil {
		return out, fmt.Errorf("run %s in node %s: %w: %s", name, n.Name, err, strings.TrimSpace(string(out)))
	}
	return out, nil
}

// Sysctl sets a variable below net of the node: Sysctl("net.ipv4.ip_forward", "1").
func (n *Node) Sysctl(key, value string) error {
	path := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
	err := n.Do(func() error { return os.WriteFile(path, []byte(value), 0) })
	if err != nil {
		return fmt.Errorf("set %s in node %s: %w", key, n.Name, err)
	}
	return nil
}

// newNode makes the namespace and names it.
func (l *Lab) newNode(name string) (*Node, error) {
	n := &Node{Name: name, Namespace: namespaceName(l.Name, name), lab: l, ns: netns.None()}
	if err := n.create(); err != nil {
		return nil, fmt.Errorf("create namespace %s: %w", n.Namespace, err)
	}
	return n, nil
}

func namespaceName(lab, node string) string { return "sy-" + lab + "-" + node }

func (n *Node) create() error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	path := filepath.Join(netnsDir, n.Namespace)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	_ = f.Close() // an empty file, only there to be mounted on
	ns, err := netns.New()
	if err == nil {
		self := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		err = unix.Mount(self, path, "", unix.MS_BIND, "")
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
	} else {
		runtime.UnlockOSThread()
	}
	if err != nil {
		_ = ns.Close()
		return errors.Join(err, os.Remove(path))
	}
	n.ns = ns
	return nil
}

// remove takes the name away; the kernel frees the namespace when its last
// process and socket are gone.
func (n *Node) remove() error {
	if !n.release() {
		return nil
	}
	return removeNamespace(n.Namespace)
}

// release closes the handle and reports whether it was open.
func (n *Node) release() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ns.IsOpen() {
		return false
	}
	_ = n.ns.Close()
	return true
}

func removeNamespace(name string) error {
	path := filepath.Join(netnsDir, name)
	// EINVAL: a file on which nothing was mounted.
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove namespace %s: %w", name, err)
	}
	return nil
}
