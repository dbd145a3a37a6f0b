// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// maxState bounds a file of state that is read: about 100,000 entries.
const maxState = 64 << 20

// A stateFile keeps something over a restart of the daemon, as JSON. The file is
// always whole: the one before, or the new one.
type stateFile struct {
	path string
	what string // for errors, in the plural

	mu    sync.Mutex
	saved uint64 // guarded by mu; the version of the latest save
}

// save returns when the body is on disk. One that is older than what was saved
// before does nothing.
func (f *stateFile) save(version uint64, body any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if version < f.saved {
		return nil // it is late: what is saved is newer
	}
	data, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		return fmt.Errorf("save %s: %w", f.what, err)
	}
	if err := writeWhole(f.path, append(data, '\n')); err != nil {
		return fmt.Errorf("save %s: %w", f.what, err)
	}
	f.saved = version
	return nil
}

// writeWhole replaces a file at once and returns when that is on disk.
func writeWhole(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	t, err := os.CreateTemp(dir, filepath.Base(path)+".new-")
	if err != nil {
		return err
	}
	_, err = t.Write(data)
	if err = errors.Join(err, t.Sync(), t.Close()); err == nil {
		err = os.Rename(t.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(t.Name()))
	}
	d, err := os.Open(dir) // the new name is safe when the folder is
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// read hands the content of the file to decode. A file that decode has no use for
// is put aside, so that it is not lost. No file is no error.
func (f *stateFile) read(decode func([]byte) error) error {
	data, err := f.content()
	if err == nil && data != nil {
		err = decode(data)
	}
	var e *os.PathError
	if err == nil || errors.As(err, &e) {
		return f.readError("", err)
	}
	bad := f.path + ".bad"
	if moved := os.Rename(f.path, bad); moved != nil {
		return f.readError(" "+f.path, errors.Join(err, moved))
	}
	return f.readError(fmt.Sprintf(" %s, kept as %s", f.path, bad), err)
}

// look is read for those who only want to see: the file stays where it is.
func (f *stateFile) look(decode func([]byte) error) error {
	data, err := f.content()
	if err == nil && data != nil {
		err = decode(data)
	}
	return f.readError(" "+f.path, err)
}

func (f *stateFile) readError(of string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read %s%s: %w", f.what, of, err)
}

// content is what the file holds; nil if there is none.
func (f *stateFile) content() ([]byte, error) {
	// A FIFO in its place must hold nobody up.
	file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(errors.Join(err, file.Close()), error(&fs.PathError{Op: "read", Path: f.path, Err: errors.New("not a regular file")}))
	}
	data, err := io.ReadAll(io.LimitReader(file, maxState+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if len(data) > maxState {
		return nil, fmt.Errorf("more than %d bytes", maxState)
	}
	return append([]byte{}, data...), nil // an empty file is there, too
}
