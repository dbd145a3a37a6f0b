// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// settle makes the kernel act now on what happened to the node's links. Left to
// itself it handles link events once a second, and until then IPv6 does not use
// the link. Asking a driver for the link state brings that forward.
func (n *Node) settle(links ...string) error {
	return n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open socket in node %s: %w", n.Name, err)
		}
		defer unix.Close(fd)
		for _, link := range links {
			if err := linkState(fd, link); err != nil {
				return fmt.Errorf("read link %s of node %s: %w", link, n.Name, err)
			}
		}
		return nil
	})
}

// linkState is the ETHTOOL_GLINK request of ethtool(8).
func linkState(fd int, link string) error {
	value := struct{ cmd, data uint32 }{cmd: unix.ETHTOOL_GLINK}
	request := struct { // struct ifreq
		name  [unix.IFNAMSIZ]byte
		value unsafe.Pointer
		_     [16]byte
	}{value: unsafe.Pointer(&value)}
	copy(request.name[:unix.IFNAMSIZ-1], link)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}
