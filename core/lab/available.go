// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Available says why a lab cannot be built here, and what to do about it; nil
// means that it can.
func Available() error {
	if err := mayUnshare(); err != nil {
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("make a network namespace: %w: run as root (sudo), or with CAP_SYS_ADMIN and CAP_NET_ADMIN", err)
		}
		return fmt.Errorf("make a network namespace: %w", err)
	}
	for _, dir := range []string{netnsDir, recordDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("%w: run as root (sudo)", err)
		}
		if err := unix.Access(dir, unix.W_OK); err != nil {
			return fmt.Errorf("write into %s: %w: run as root (sudo)", dir, err)
		}
	}
	return nil
}

// mayUnshare tries it, on a thread that is thrown away.
func mayUnshare() error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		result <- unix.Unshare(unix.CLONE_NEWNET)
	}()
	return <-result
}
