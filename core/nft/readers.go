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

// A mapOf is a weights map, or a service's seat in one.
type mapOf struct {
	service string
	set     *set
	seat    seat
}

// readWeights reads weights maps and calls each with the place of the map in the
// list, one call after the other; a shared map is read once. The map is valid
// during the call only. It has ended all that it started when it returns.
func (a *Applier) readWeights(ctx context.Context, list []mapOf, each func(i int, m weightMap, err error)) error {
	sets, in := setsOf(list)
	readers := a.readers
	if len(sets) <= fewServices {
		readers = readers[:1]
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // of the calls to each
	for k, s := range readers {
		wg.Go(func() {
			var r weightsReader
			for n := k; n < len(sets) && ctx.Err() == nil; n += len(readers) {
				m, err := s.weights(a.table, sets[n], &r)
				mu.Lock()
				for _, i := range in[sets[n].name] {
					if list[i].seat.shared() {
						each(i, m.part(list[i].seat, list[i].service), err)
						continue
					}
					m.seat = list[i].seat
					each(i, m, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// setsOf are the maps to be read, and the places of the list that are in each.
func setsOf(list []mapOf) (sets []*set, in map[string][]int) {
	in = make(map[string][]int, len(list))
	for i := range list {
		name := list[i].set.name
		if len(in[name]) == 0 {
			sets = append(sets, list[i].set)
		}
		in[name] = append(in[name], i)
	}
	return sets, in
}
