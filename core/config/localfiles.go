// SPDX-License-Identifier: Apache-2.0

package config

// localFiles are the files with what is of one node alone, as they were when they were
// read: its file, conf.d and what their keys name that cannot be pushed, such as the
// password of a login. What services and probes name is read anew each time.
type localFiles struct {
	dropIns  []string
	contents map[string][]byte // by path
}

func newLocalFiles() *localFiles { return &localFiles{contents: map[string][]byte{}} }

// localBefore are the files of LocalOf; nil if they are to be read anew.
func (o *Options) localBefore() *localFiles {
	if o.LocalOf == nil {
		return nil
	}
	return o.LocalOf.local
}

// readLocal reads a file of the node, and keeps it for a Load with LocalOf.
func (l *loader) readLocal(path string) (data []byte, err error) {
	had := false
	if before := l.opts.localBefore(); before != nil {
		data, had = before.contents[path]
	}
	if !had {
		data, err = l.opts.ReadFile(path)
	}
	if err == nil {
		l.local.contents[path] = data
	}
	return data, err
}

// readFor reads a file that the value at key names.
func (l *loader) readFor(key, path string) ([]byte, error) {
	if isShared(key) {
		return l.opts.ReadFile(path)
	}
	return l.readLocal(path)
}
