// SPDX-License-Identifier: Apache-2.0

package abi_test

import (
	"bytes"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// What a policy does not ask for is unknown to it, as if nobody had measured it.
func TestHidden(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reads []string
		blank func(*core.BackendInput)
	}{
		{"does not say", nil, func(*core.BackendInput) {}},
		{"nothing", []string{}, func(b *core.BackendInput) {
			b.CPU, b.Cores, b.Response, b.Conns, b.New, b.Done = core.Reading{}, core.Reading{}, core.Reading{}, core.Reading{}, core.Reading{}, core.Reading{}
		}},
		{"connections", []string{abi.ReadsConnections}, func(b *core.BackendInput) {
			b.CPU, b.Cores, b.Response, b.New, b.Done = core.Reading{}, core.Reading{}, core.Reading{}, core.Reading{}, core.Reading{}
		}},
		{"all others", []string{abi.ReadsCPU, abi.ReadsCores, abi.ReadsResponse, abi.ReadsOpened, abi.ReadsClosed}, func(b *core.BackendInput) {
			b.Conns = core.Reading{}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, f := sample()
			info := abi.PolicyInfo{Name: "a", Reads: tt.reads}
			f.Hidden = info.Hidden()
			got, err := abi.Encode(nil, s, f)
			if err != nil {
				t.Fatal(err)
			}
			f.Hidden = 0
			for i := range s.Backends {
				tt.blank(&s.Backends[i])
			}
			want, err := abi.Encode(nil, s, f)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}
		})
	}
}
