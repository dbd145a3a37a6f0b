// SPDX-License-Identifier: Apache-2.0

package policy

// A Health is the state of a backend's gate: Unknown, Up or Down. Treat any
// other number like Unknown.
type Health uint8

// ID names the backend; it is the same on every node and after every restart.
func (b *Backend) ID() uint64 { return b.id }

// Weight is the configured weight, 0 to 1000. 0 means no new connections.
func (b *Backend) Weight() float64 { return float64(b.weight) }

// Share is the share applied by the decision before, 0 to 1.
func (b *Backend) Share() float64 { return float64(b.share) / 65536 }

// Health is the state of the backend's gate.
func (b *Backend) Health() Health { return b.health }

// HealthSeconds is the time spent in this state of health.
func (b *Backend) HealthSeconds() float64 { return float64(b.healthSeconds) }

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
func (b *Backend) ResponseAge() float64 { return float64(b.responseAge) }

// Connections is the number of open connections; false if unknown.
func (b *Backend) Connections() (count float64, ok bool) {
	return float64(b.connections), b.valid&hasConnections != 0
}

// ConnectionsAge is the age of Connections in seconds.
func (b *Backend) ConnectionsAge() float64 { return float64(b.connectionsAge) }

// Opened is the rate of new connections per second; false if unknown.
func (b *Backend) Opened() (perSecond float64, ok bool) { return b.opened, b.valid&hasOpened != 0 }

// Closed is the rate of finished connections per second, over CPUWindow where
// CPU is known; false if unknown.
func (b *Backend) Closed() (perSecond float64, ok bool) { return b.closed, b.valid&hasClosed != 0 }
