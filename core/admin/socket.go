// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	socketMode = 0o660
	dirMode    = 0o755
	maxPath    = 107 // sun_path of sockaddr_un holds 108 bytes, one of them zero
)

// listen opens the control socket. Its mode and group are set between bind and
// listen, when nobody can connect yet.
func listen(path, group string) (net.Listener, error) {
	gid, err := lookupGroup(group)
	if err != nil {
		return nil, err
	}
	if len(path) > maxPath {
		return nil, fmt.Errorf("open control socket %s: the path has %d bytes, UNIX sockets take %d; choose a shorter one", path, len(path), maxPath)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("make directory of control socket: %w", err)
	}
	// Two daemons that start at once must not each take the other's fresh
	// socket for a stale one. The lock leaves no file behind.
	lock, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock directory of control socket: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock directory of control socket %s: %w", dir, err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := bindSocket(path, gid)
	if err != nil {
		return nil, fmt.Errorf("open control socket %s: %w", path, err)
	}
	return l, nil
}

func lookupGroup(name string) (gid int, err error) {
	if name == "" {
		return -1, nil // chown's word for "as it is"
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("group of control socket: %w", err)
	}
	return strconv.Atoi(g.Gid)
}

// removeStale makes room for the socket, unless the one that is there lives.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("open control socket %s: a file that is no socket is there; move it away, or choose another path", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		pid := peer(c)
		_ = c.Close()
		return fmt.Errorf("open control socket %s: another steelyard is running%s; stop it, or choose another path", path, pid)
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	default:
		// A full backlog, say: somebody is there but does not answer.
		return fmt.Errorf("open control socket %s: another steelyard may be running: %w", path, err)
	}
}

// peer names the process at the other end, as far as the kernel tells.
func peer(c net.Conn) string {
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return ""
	}
	text := ""
	_ = raw.Control(func(fd uintptr) {
		if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			text = fmt.Sprintf(" (process %d)", cred.Pid)
		}
	})
	return text
}

func bindSocket(path string, gid int) (net.Listener, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() // FileListener has its own copy
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		return nil, err
	}
	err = errors.Join(os.Chown(path, -1, gid), os.Chmod(path, socketMode))
	if err == nil {
		err = syscall.Listen(fd, syscall.SOMAXCONN)
	}
	var l net.Listener
	if err == nil {
		l, err = net.FileListener(f)
	}
	if err != nil {
		_ = os.Remove(path)
		return nil, err
	}
	return l, nil
}
