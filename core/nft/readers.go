// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"runtime"
	"sync"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// maxReaders is how many weights maps are read at once at most.
	maxReaders = 4
	// fewServices is how many maps one socket reads sooner than several.
	fewServices = 16
)

// openReaders opens the sockets by which many weights maps are read. The kernel
// finds a set by walking all sets of the table, so that to read 10,000 maps
// takes seconds; it reads for several sockets at the same time.
func openReaders() ([]*socket, error) {
	list := make([]*socket, 0, maxReaders)
	for range min(maxReaders, runtime.NumCPU()) {
		s, err := openSocket()
		if err != nil {
			closeAll(list)
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func closeAll(list []*socket) (err error) {
	for _, s := range list {
		if e := s.close(); e != nil {
			err = e
		}
	}
	return err
}

// readWeights reads the weights maps of the services and calls each with the
// place of the service in the list, one call after the other. The intervals are
// valid during the call only. It has ended all that it started when it returns.
func (a *Applier) readWeights(ctx context.Context, services []*core.ServicePlan, each func(i int, ivs []interval, err error)) error {
	readers := a.readers
	if len(services) <= fewServices {
		readers = readers[:1]
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // of the calls to each
	for k, s := range readers {
		wg.Go(func() {
			var r intervalReader
			for i := k; i < len(services) && ctx.Err() == nil; i += len(readers) {
				ivs, err := s.weights(a.table, services[i], &r)
				mu.Lock()
				each(i, ivs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}
