// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

var le = binary.LittleEndian

// A view is a snapshot whose offsets were checked: what it points at is there.
type view struct {
	b                  []byte
	n                  int
	records, stride    int
	params, nParams    int
	metrics, nMetrics  int
	service            int
	state, stateStride int
	out                int
}

var errDamaged = errors.New("the snapshot has a block outside it")

// open checks a snapshot against what the policy wants of it.
func (v *view) open(b []byte, p *policy) error {
	if err := abi.CheckSnapshot(b); err != nil {
		return err
	}
	if le.Uint16(b[abi.OffMajor:]) != abi.Major {
		return errors.New("the snapshot is not of ABI v1")
	}
	at := func(off int) int { return int(le.Uint32(b[off:])) }
	*v = view{b: b, n: at(abi.OffN), records: at(abi.OffRecordsOff), stride: at(abi.OffStride), params: at(abi.OffParamsOff), nParams: at(abi.OffNParams),
		metrics: at(abi.OffCustomDirOff), nMetrics: at(abi.OffNCustom), service: at(abi.OffServiceStateOff), state: at(abi.OffBackendStateOff), stateStride: at(abi.OffBackendStateStride),
		out: at(abi.OffOutOff)}
	if v.n > abi.MaxBackends || v.stride < abi.Stride {
		return errDamaged
	}
	if v.stateStride < 8*len(p.backendState) || at(abi.OffServiceStateLen) < 8*len(p.serviceState) {
		return errors.New("the snapshot has fewer state slots than the policy")
	}
	// The answer begins with the service's state; what is written is behind it.
	if v.state < v.service || v.out < v.service {
		return errDamaged
	}
	for _, block := range [...][2]int{
		{v.records, v.n * v.stride}, {v.params, v.nParams * 8}, {v.metrics, v.nMetrics * abi.MetricSize},
		{v.service, 8 * len(p.serviceState)}, {v.state, v.n * v.stateStride}, {v.out, v.n * 4},
	} {
		if block[0]+block[1] > len(b) {
			return errDamaged
		}
	}
	return v.openMetrics(min(v.nMetrics, len(p.Metrics)))
}

func (v *view) openMetrics(n int) error {
	for k := range n {
		if v.metricAt(k, abi.MetricValuesOff)+v.n*8 > len(v.b) || v.metricAt(k, abi.MetricAgesOff)+v.n*4 > len(v.b) {
			return errDamaged
		}
	}
	return nil
}

func (v *view) metricAt(k, off int) int {
	return int(le.Uint32(v.b[v.metrics+k*abi.MetricSize+off:]))
}

func (v *view) f64(off int) float64 { return math.Float64frombits(le.Uint64(v.b[off:])) }

// locate is where a column begins and how far its values are apart; false if the
// snapshot does not have it.
func (v *view) locate(s source) (base, stride int, ok bool) {
	switch s.block {
	case inMetrics, inMetricAges:
		if s.off >= v.nMetrics {
			return 0, 0, false
		}
		if s.block == inMetrics {
			return v.metricAt(s.off, abi.MetricValuesOff), 8, true
		}
		return v.metricAt(s.off, abi.MetricAgesOff), 4, true
	case inState:
		return v.state + s.off*8, v.stateStride, true
	}
	return v.records + s.off, v.stride, true
}
