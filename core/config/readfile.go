// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

var errNotRegular = errors.New("it is no regular file")

// readRegular is os.ReadFile that neither waits nor fills the memory: a FIFO
// has no end before somebody writes, and /dev/zero has none at all.
func readRegular(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, &fs.PathError{Op: "read", Path: path, Err: syscall.EISDIR}
	case !info.Mode().IsRegular():
		return nil, &fs.PathError{Op: "read", Path: path, Err: errNotRegular}
	}
	return readBounded(f)
}

// readStream reads what an operator names on the command line, which may be a
// pipe: -c /dev/stdin, -c <(make-config).
func readStream(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f)
}

func readBounded(f *os.File) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = &fs.PathError{Op: "read", Path: f.Name(), Err: fmt.Errorf("it has more than %d MB", maxFile>>20)}
	}
	return data, err
}

// fileHint is what to do about a file that cannot be read.
func fileHint(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return "run it as a user that may read the file, such as root"
	}
	return "the path is relative to the file that names it"
}
