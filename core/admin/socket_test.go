// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// leaveSocket makes the file of a socket that nobody answers on, as a killed
// daemon leaves it.
func leaveSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSocketFile(t *testing.T) {
	c, stop := serve(t, testNode())
	info, err := os.Stat(c.path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode(), fs.FileMode(0o660)|fs.ModeSocket; got != want {
		t.Errorf("mode %v, want %v", got, want)
	}
	if info, err = os.Stat(filepath.Dir(c.path)); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("directory %v, %v, want 0755", info.Mode(), err)
	}
	stop()
	if _, err := os.Lstat(c.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end the socket is still there: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	leaveSocket(t, path)
	l, err := listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestLiveSocketIsLeftAlone(t *testing.T) {
	c, _ := serve(t, testNode())
	err := (&Server{Path: c.path, Node: testNode()}).Run(t.Context())
	want := fmt.Sprintf("another steelyard is running (process %d)", os.Getpid())
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), c.path) {
		t.Errorf("error %v, want %q and the path in it", err, want)
	}
	if _, err := c.Version(t.Context()); err != nil {
		t.Errorf("the first one is gone: %v", err)
	}
}

// TestSocketOfAnotherIsNotRemoved: an operator moved ours away and started a
// second daemon.
func TestSocketOfAnotherIsNotRemoved(t *testing.T) {
	c, stop := serve(t, testNode())
	if err := os.Remove(c.path); err != nil {
		t.Fatal(err)
	}
	l, err := listen(c.path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	stop()
	if _, err := os.Lstat(c.path); err != nil {
		t.Error(err)
	}
}

func TestSocketRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, group, want string }{
		{"a file is there", file, "", "a file that is no socket is there"},
		{"a directory is there", dir, "", "a file that is no socket is there"},
		{"path too long", filepath.Join(dir, strings.Repeat("x", 108)), "", "UNIX sockets take 107"},
		{"directory is a file", filepath.Join(file, "s"), "", "not a directory"},
		{"no such group", filepath.Join(dir, "s"), "no-such-group", "no-such-group"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := listen(tt.path, tt.group)
			if err == nil {
				_ = l.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the file is gone: %v", err)
	}
}

// TestStrangerIsRefused connects as another user.
func TestStrangerIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root to become another user")
		}
		t.Skip("needs root to become another user")
	}
	path := filepath.Join(openDir(t), "s")
	l, err := listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	result := make(chan error, 1) // one result
	go func() {
		// The thread is not given back: it ends with this goroutine.
		runtime.LockOSThread()
		if err := syscall.Setfsuid(65534); err != nil {
			result <- err
			return
		}
		if err := syscall.Setfsgid(65534); err != nil {
			result <- err
			return
		}
		c, err := NewClient(path).dial(context.Background())
		if err == nil {
			_ = c.Close()
		}
		result <- err
	}()
	if e := NewClient(path).explain(<-result); !errors.Is(e, ErrPermission) {
		t.Errorf("error %v, want ErrPermission", e)
	}
}

// openDir is a temporary directory that other users may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
