// SPDX-License-Identifier: Apache-2.0

// Package kernellab is what the two sides of the kernel lab share: the lines in
// which the guest gives its results, and what is made of them.
//
// The lab boots Debian's kernels in an emulator and works there with a kernel
// that is known, instead of the one that happens to be under the tests. It runs
// the data plane's tests, and it counts instructions per packet: the emulator
// can count one nanosecond of the guest's time per instruction, so that the
// guest only has to look at its clock. Such counts repeat to a tenth of a
// percent on any machine, however busy.
//
//	.ci/kernel-lab   gets kernels, builds the guest's image, boots it
//	host             the Go of that: modules, reports
//	guest            the guest's first program: runs tests, or counts; its
//	                 cases.go says how a case is added
//
// # What a count is, and is not
//
// It is of a packet's whole trip: a client's system call and IP layer, a veth,
// the balancer, a veth, and a backend's IP layer that drops it. Differences
// between rows are the balancer's alone. An instruction is not a time: caches,
// and how well a processor works in parallel, are not in it.
package kernellab
