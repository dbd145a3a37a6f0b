// SPDX-License-Identifier: Apache-2.0

package policy

import "unsafe"

// The layout of ABI v1, little endian. The host has its own copy of it
// (plugins/abi); a test there compares the two byte by byte.
const (
	magic         = "SYD1"
	major         = 1
	minor         = 0
	minHeaderSize = 128
	minStride     = 96

	notWritten = 0xFFFFFFFF
	holdWeight = 0xFFFFFFFE
	maxWeight  = 1e9
)

type header struct {
	magic                     [4]byte
	major, minor              uint16
	headerSize, totalSize     uint32
	serviceID, seq            uint64
	nowNs                     int64
	dt                        float64
	n, stride                 uint32
	recOff, outOff            uint32
	svcStateOff, svcStateLen  uint32
	beStateOff, beStateStride uint32
	paramsOff, nParams        uint32
	entry, nCustom, customDir uint32
	_                         uint32
	seed                      uint64
	_                         [16]byte
}

// A Health is the state of a backend's gate.
type Health uint8

// The states. Treat a number that is not here like Unknown.
const (
	Unknown Health = 0
	Up      Health = 1
	Down    Health = 2
)

// The bits of Backend.valid.
const (
	hasCPU = 1 << iota
	hasCores
	hasResponse
	hasConns
	hasNew
	hasDone
)

// A Backend is one record of the snapshot. It is a view: it is good until
// Schedule returns.
type Backend struct {
	id         uint64
	weight     uint32
	share      uint32 // 1/65536
	health     Health
	flags      uint8
	valid      uint16
	conns      uint32
	cpu        float64
	response   float64
	opened     float64
	closed     float64
	cores      float64
	cpuAge     float32
	respAge    float32
	connsAge   float32
	healthSecs float32
	cpuWindow  float32
	cpuSeq     uint32
	_          [8]byte
}

// The compiler refuses these if a field was added in the wrong place.
var (
	_ [minHeaderSize]byte = [unsafe.Sizeof(header{})]byte{}
	_ [minStride]byte     = [unsafe.Sizeof(Backend{})]byte{}
)

// ID names the backend; it is the same on every node and after every restart.
func (b *Backend) ID() uint64 { return b.id }

// Weight is the configured weight, 0 to 1000. 0 means no new connections.
func (b *Backend) Weight() float64 { return float64(b.weight) }

// Share is the share applied by the decision before, 0 to 1.
func (b *Backend) Share() float64 { return float64(b.share) / 65536 }

// Health is the state of the backend's gate.
func (b *Backend) Health() Health { return b.health }

// HealthSeconds is the time spent in this state of health.
func (b *Backend) HealthSeconds() float64 { return float64(b.healthSecs) }

// CPU is the busy share of all cores, 0 to 1; false if it is unknown or stale.
func (b *Backend) CPU() (ratio float64, ok bool) { return b.cpu, b.valid&hasCPU != 0 }

// CPUAge is the age of CPU and CPUWindow the time it was averaged over, in
// seconds.
func (b *Backend) CPUAge() float64 { return float64(b.cpuAge) }

// CPUWindow is the time that CPU and Closed were averaged over, in seconds.
func (b *Backend) CPUWindow() float64 { return float64(b.cpuWindow) }

// CPUSeq counts fresh CPU samples: while it stands still, CPU is a repeat.
func (b *Backend) CPUSeq() uint32 { return b.cpuSeq }

// Cores is the number of cores; false if unknown.
func (b *Backend) Cores() (count float64, ok bool) { return b.cores, b.valid&hasCores != 0 }

// Response is the response time in seconds; false if unknown or stale.
func (b *Backend) Response() (seconds float64, ok bool) {
	return b.response, b.valid&hasResponse != 0
}

// ResponseAge is the age of Response in seconds.
func (b *Backend) ResponseAge() float64 { return float64(b.respAge) }

// Connections is the number of open connections; false if unknown.
func (b *Backend) Connections() (count float64, ok bool) {
	return float64(b.conns), b.valid&hasConns != 0
}

// ConnectionsAge is the age of Connections in seconds.
func (b *Backend) ConnectionsAge() float64 { return float64(b.connsAge) }

// Opened is the rate of new connections per second; false if unknown.
func (b *Backend) Opened() (perSecond float64, ok bool) { return b.opened, b.valid&hasNew != 0 }

// Closed is the rate of finished connections per second, over CPUWindow where
// CPU is known; false if unknown.
func (b *Backend) Closed() (perSecond float64, ok bool) { return b.closed, b.valid&hasDone != 0 }
