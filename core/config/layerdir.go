// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// A LayerDir keeps on disk the definitions that were fetched, so that a node starts
// with the last good ones when nobody can be asked. It holds a directory for each
// revision and a link to the one in force. One process uses it at a time.
type LayerDir struct {
	Path string // made when it is first written to
}

const (
	layerName = "definitions.yaml"
	goodName  = "good" // a link to the directory of the revision in force
)

var (
	hashPattern     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	revisionPattern = regexp.MustCompile(`^([1-9][0-9]{0,18})-[0-9a-f]{12}$`)
)

// Write keeps a revision and returns the path of its file, for Options.Layers. Files
// are those of its policies, by their SHA-256. All or nothing; a revision that is
// there already, and whole, is left as it is.
func (d LayerDir) Write(revision uint64, yaml []byte, files map[string][]byte) (string, error) {
	dir := filepath.Join(d.Path, revisionName(revision, yaml))
	layer := filepath.Join(dir, layerName)
	if holds(dir, yaml, files) {
		return layer, nil
	}
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return "", fmt.Errorf("keep revision %d: %w", revision, err)
	}
	tmp, err := os.MkdirTemp(d.Path, ".new-")
	if err != nil {
		return "", fmt.Errorf("keep revision %d: %w", revision, err)
	}
	defer os.RemoveAll(tmp)
	if err := writeRevision(tmp, yaml, files); err != nil {
		return "", fmt.Errorf("keep revision %d: %w", revision, err)
	}
	if err := errors.Join(os.RemoveAll(dir), os.Rename(tmp, dir), syncPath(d.Path)); err != nil {
		return "", fmt.Errorf("keep revision %d: %w", revision, err)
	}
	return layer, nil
}

// holds reports whether a directory has a revision, byte for byte: a disk that was full,
// or is failing, may have left something else.
func holds(dir string, yaml []byte, files map[string][]byte) bool {
	same := func(path string, want []byte) bool {
		got, err := readRegular(path)
		return err == nil && bytes.Equal(got, want)
	}
	for hash, code := range files {
		if !same(filepath.Join(dir, FilesDir, hash), code) {
			return false
		}
	}
	return same(filepath.Join(dir, layerName), yaml)
}

// revisionName has the content in it: a store that was set up anew counts from 1 again.
func revisionName(revision uint64, yaml []byte) string {
	sum := sha256.Sum256(yaml)
	return strconv.FormatUint(revision, 10) + "-" + hex.EncodeToString(sum[:6])
}

func writeRevision(dir string, yaml []byte, files map[string][]byte) error {
	if err := os.Mkdir(filepath.Join(dir, FilesDir), 0o700); err != nil {
		return err
	}
	for hash, code := range files {
		if sum := sha256.Sum256(code); !hashPattern.MatchString(hash) || hex.EncodeToString(sum[:]) != hash {
			return fmt.Errorf("the file %q of a policy has another content than its name says", hash)
		}
		if err := writeSynced(filepath.Join(dir, FilesDir, hash), code); err != nil {
			return err
		}
	}
	return errors.Join(writeSynced(filepath.Join(dir, layerName), yaml), syncPath(filepath.Join(dir, FilesDir)), syncPath(dir))
}

// Accept makes a revision that was written the last good one, and removes the others.
func (d LayerDir) Accept(layer string) error {
	name := filepath.Base(filepath.Dir(layer))
	link := filepath.Join(d.Path, goodName)
	tmp := link + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("accept revision %s: %w", name, err)
	}
	if err := errors.Join(os.Symlink(name, tmp), os.Rename(tmp, link), syncPath(d.Path)); err != nil {
		return fmt.Errorf("accept revision %s: %w", name, err)
	}
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		return fmt.Errorf("accept revision %s: %w", name, err)
	}
	for _, e := range entries {
		if n := e.Name(); e.IsDir() && n != name && (revisionPattern.MatchString(n) || strings.HasPrefix(n, ".new-")) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(d.Path, n)))
		}
	}
	return err
}

// Good is the revision that Accept was called for last and the path of its file; 0 and
// nothing if there is none.
func (d LayerDir) Good() (revision uint64, layer string, err error) {
	name, err := os.Readlink(filepath.Join(d.Path, goodName))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", fmt.Errorf("find the last good definitions: %w", err)
	}
	m := revisionPattern.FindStringSubmatch(name)
	if m == nil {
		return 0, "", fmt.Errorf("find the last good definitions: %s points to %q, which is no revision; remove it", filepath.Join(d.Path, goodName), name)
	}
	revision, err = strconv.ParseUint(m[1], 10, 64)
	return revision, filepath.Join(d.Path, name, layerName), err
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncPath(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
