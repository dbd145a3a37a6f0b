// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// keepEvery is how often the highest epoch is written at most. A restart within it finds
// an older one, which matters only where the clock was set back by as much, too, and no
// other node is there to tell.
const keepEvery = 5 * time.Second

// An epochFile keeps the highest epoch over a restart, so that a node whose clock was set
// back in between does not lead with epochs that nobody follows.
type epochFile struct {
	path string // empty: nothing is kept
	kept uint64
}

// openEpochFile reads what an earlier life kept in dir. With an error it starts from the
// clock, which is nearly always right: a node that does not start helps nobody.
func openEpochFile(dir string, now time.Time) (*epochFile, error) {
	if dir == "" {
		return &epochFile{}, nil
	}
	f := &epochFile{path: filepath.Join(dir, "cluster-epoch")}
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	kept, err := parseEpoch(string(text))
	if err != nil {
		return f, fmt.Errorf("read %s: %w; it is written anew", f.path, err)
	}
	if core.EpochTooFar(kept, now) {
		return f, fmt.Errorf("read %s: the epoch is more than a day ahead of this node's clock; if the clock is wrong, set it", f.path)
	}
	f.kept = kept
	return f, nil
}

func parseEpoch(text string) (uint64, error) {
	line, ok := strings.CutSuffix(text, "\n")
	if !ok {
		return 0, errors.New("its line has no end")
	}
	n, err := strconv.ParseUint(line, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("want one number: %w", err)
	}
	return n, nil
}

// keep writes the highest epoch whenever it has grown, until ctx is done, and then once
// more. It has a goroutine of its own since a disk can take its time.
func (f *epochFile) keep(ctx context.Context, highest func() uint64, log *slog.Logger) {
	if f.path == "" {
		return
	}
	var told core.Seldom
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	for {
		if err := f.write(highest()); err != nil {
			if _, due := told.Due(f.path, "write", time.Now()); due {
				log.Warn("the epoch of the cluster is not kept over a restart", "error", err)
			}
		}
		if ctx.Err() != nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// write replaces the file in one step.
func (f *epochFile) write(epoch uint64) error {
	if epoch == f.kept {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	next := f.path + ".new"
	if err := writeSynced(next, strconv.FormatUint(epoch, 10)+"\n"); err != nil {
		return err
	}
	if err := os.Rename(next, f.path); err != nil {
		return err
	}
	f.kept = epoch
	return nil
}

// writeSynced writes a file that is on the disk when it returns, or else the file that
// takes its name could be empty after a power cut.
func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}
