// SPDX-License-Identifier: Apache-2.0

package definitions

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"

	"github.com/steelyard-lb/steelyard/bus"
)

// Limits of what may be pushed.
const (
	// MaxDocumentBytes is enough for 10,000 services of 16 backends, which have 9 MB.
	MaxDocumentBytes = MaxFileBytes // it is stored as a file
	MaxFileBytes     = 16 << 20
	MaxFiles         = 256
	maxTextBytes     = 1024 // of Who, Host, Login and Message
)

// AnyRevision makes Push replace whatever there is.
const AnyRevision = ^uint64(0)

// A Revision says of one pushed state of the definitions what it is and whose.
type Revision struct {
	Number uint64    `json:"number"` // counts up; given by the store
	At     time.Time `json:"at"`     // by the clock of who pushed
	// Who pushed it, from which Host, and why.
	Who     string `json:"who"`
	Host    string `json:"host"`
	Message string `json:"message"`
	// Login is the user of the NATS that it was pushed as, if that is known. Like Who it
	// is what the one who pushed says: the NATS tells nobody.
	Login string `json:"login,omitempty"`
	// SHA256 is that of the document, in hexadecimal; Files are the digests of the
	// files, by the names that the document has for them.
	SHA256 string            `json:"sha256"`
	Files  map[string]string `json:"files,omitempty"`
}

// By is who pushed it, with the login where that has another name: "root as deploy".
func (r *Revision) By() string {
	if r.Login == "" || r.Login == r.Who {
		return r.Who
	}
	return r.Who + " as " + r.Login
}

var digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// check holds a revision against the limits.
func (r *Revision) check() error {
	for _, t := range []struct{ field, text string }{{"who", r.Who}, {"host", r.Host}, {"login", r.Login}, {"message", r.Message}} {
		if len(t.text) > maxTextBytes || !utf8.ValidString(t.text) {
			return fmt.Errorf("%s: want at most %d bytes of UTF-8", t.field, maxTextBytes)
		}
	}
	if !digestPattern.MatchString(r.SHA256) {
		return errors.New("sha256: want 64 hexadecimal digits")
	}
	if len(r.Files) > MaxFiles {
		return fmt.Errorf("files: %d of them, want at most %d", len(r.Files), MaxFiles)
	}
	for name, sum := range r.Files {
		if err := checkName(name); err != nil {
			return fmt.Errorf("files: name %w", err)
		}
		if !digestPattern.MatchString(sum) {
			return fmt.Errorf("files: %q: want 64 hexadecimal digits", name)
		}
	}
	return nil
}

// CheckSizes says what of a document and its files is too large to push, or empty. Push
// asks it before anything is stored.
func CheckSizes(doc []byte, files map[string][]byte) error {
	if len(doc) == 0 || len(doc) > MaxDocumentBytes {
		return fmt.Errorf("document of %d bytes: want 1 to %d (%d MiB); name long lists of clients by allow_file and deny_file and policies by path, or split the services over several groups",
			len(doc), MaxDocumentBytes, MaxDocumentBytes>>20)
	}
	if len(files) > MaxFiles {
		return fmt.Errorf("files: %d of them, want at most %d", len(files), MaxFiles)
	}
	for name, data := range files {
		if len(data) == 0 || len(data) > MaxFileBytes {
			return fmt.Errorf("file %q of %d bytes: want 1 to %d (%d MiB)", name, len(data), MaxFileBytes, MaxFileBytes>>20)
		}
	}
	return nil
}

// describe fills in the digests, and returns the contents by digest.
func (r *Revision) describe(doc []byte, files map[string][]byte) (map[string][]byte, error) {
	if err := CheckSizes(doc, files); err != nil {
		return nil, err
	}
	r.SHA256, r.Files = digest(doc), nil
	if r.At.IsZero() {
		r.At = time.Now()
	}
	r.At = r.At.UTC()
	contents := map[string][]byte{r.SHA256: doc}
	for name, data := range files {
		sum := digest(data)
		if r.Files == nil {
			r.Files = make(map[string]string, len(files))
		}
		r.Files[name], contents[sum] = sum, data
	}
	return contents, r.check()
}

// decodeRevision reads the record of a revision. Who may write the store may write
// anything there.
func decodeRevision(data []byte) (Revision, error) {
	if len(data) > revisionBytes {
		return Revision{}, fmt.Errorf("record of %d bytes, want at most %d: %w", len(data), revisionBytes, ErrDamaged)
	}
	var r Revision
	if err := json.Unmarshal(data, &r); err != nil {
		return Revision{}, fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	if err := r.check(); err != nil {
		return Revision{}, fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	return r, nil
}

// checkName holds the name of a file against what a name may be.
func checkName(s string) error {
	switch {
	case s == "":
		return errors.New("is missing")
	case len(s) > bus.MaxNameBytes:
		return fmt.Errorf("is longer than %d bytes", bus.MaxNameBytes)
	case !utf8.ValidString(s):
		return fmt.Errorf("%q is not UTF-8", s)
	}
	return nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
