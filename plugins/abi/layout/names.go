// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"errors"
	"fmt"
	"strings"
)

// Check reports whether every field is where the one before ends, aligned to
// its own size, and the struct is as long as it says.
func (s Struct) Check() error {
	at, names := 0, map[string]bool{}
	for _, f := range s.Fields {
		size := f.Type.Size()
		switch {
		case size == 0:
			return fmt.Errorf("%s.%s: no type %q", s.Name, f.Name, f.Type)
		case f.Off != at:
			return fmt.Errorf("%s.%s is at %d: the field before ends at %d", s.Name, f.Name, f.Off, at)
		case f.Off%min(size, 8) != 0:
			return fmt.Errorf("%s.%s at %d is not aligned to %d", s.Name, f.Name, f.Off, min(size, 8))
		case names[f.Name]:
			return fmt.Errorf("%s.%s is there twice", s.Name, f.Name)
		}
		names[f.Name] = true
		at += size
	}
	if at != s.Size || at%8 != 0 {
		return errors.New(s.Name + ": the size is not the sum of the fields, or no multiple of 8")
	}
	return nil
}

// camel is n_params as nParams.
func camel(name string) string {
	p := pascal(name)
	words := strings.SplitN(name, "_", 2)
	if len(words) == 1 {
		return name
	}
	return words[0] + p[len(words[0]):]
}

// pascal is n_params as NParams.
func pascal(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// initialisms are the words that Go writes in capitals.
var initialisms = strings.NewReplacer("Cpu", "CPU", "Utc", "UTC", "Id", "ID")

// goName is an exported Go name: CPUAge.
func goName(name string) string { return initialisms.Replace(pascal(name)) }

// sentence puts a capital in front.
func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
