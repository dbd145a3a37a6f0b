// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"runtime"
	"sync"
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

// A mapOf is a weights map and the service it belongs to.
type mapOf struct {
	service string
	set     *set
}

// readWeights reads weights maps and calls each with the place of the map in the
// list, one call after the other. The map is valid during the call only.
// It has ended all that it started when it returns.
func (a *Applier) readWeights(ctx context.Context, list []mapOf, each func(i int, m weightMap, err error)) error {
	readers := a.readers
	if len(list) <= fewServices {
		readers = readers[:1]
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // of the calls to each
	for k, s := range readers {
		wg.Go(func() {
			var r weightsReader
			for i := k; i < len(list) && ctx.Err() == nil; i += len(readers) {
				m, err := s.weights(a.table, list[i].set, &r)
				mu.Lock()
				each(i, m, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}
