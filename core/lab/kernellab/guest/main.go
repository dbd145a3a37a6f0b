// SPDX-License-Identifier: Apache-2.0

// Command guest is the first and only program of the kernel lab's guest: it
// brings the kernel up as far as the lab needs it, does what the kernel's
// command line asks for, and switches the machine off.
//
//	lab.do=tests             run the test binaries in /lab/tests
//	lab.short=true           with -test.short
//	lab.run=REGEXP           only these
//	lab.do=count             count instructions per packet; see cases.go
//	lab.services=1,1000      at these numbers of services
//	lab.reps=5               so many times each
//	lab.only=REGEXP          only cases whose "name at services, traffic" matches
//
// What a person reads goes to the first serial port, results to the second.
package main

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest: it is made to be a kernel's first program, in the image of .ci/kernel-lab")
		os.Exit(2)
	}
	// Namespaces belong to threads: everything is done in this one.
	runtime.LockOSThread()
	if err := run(); err != nil {
		fmt.Println("guest:", err)
	}
	// Let the serial ports drain.
	time.Sleep(100 * time.Millisecond)
	unix.Sync()
	fmt.Println("guest: power off:", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

// run returns an error only if the verdict could not be given.
func run() error {
	if err := bringUp(); err != nil {
		return err
	}
	out, err := openResults()
	if err != nil {
		return err
	}
	j, err := readJob()
	if err != nil {
		return out.verdict(err)
	}
	fmt.Printf("guest: kernel %s up after %s\n", kernelRelease(), uptime())
	switch j.do {
	case "tests":
		return out.verdict(runTests(out, j))
	case "count":
		return out.verdict(count(out, j))
	}
	return out.verdict(fmt.Errorf("lab.do=%s: want tests or count", j.do))
}
