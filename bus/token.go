// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"strings"
)

const upperHex = "0123456789ABCDEF"

// Escape makes one token of a subject from any name: letters, digits, - and _
// stay, every other byte becomes =XX, and an empty name becomes a lone =. The
// equals sign is one of the few characters that are also legal in the keys of
// NATS key-value stores, so that a token can be a key.
func Escape(name string) string {
	return string(appendEscaped(nil, name))
}

func appendEscaped(b []byte, name string) []byte {
	if name == "" {
		return append(b, '=')
	}
	for i := range len(name) {
		c := name[i]
		if plain(c) {
			b = append(b, c)
			continue
		}
		b = append(b, '=', upperHex[c>>4], upperHex[c&15])
	}
	return b
}

// Unescape is the inverse of Escape. It takes only what Escape writes, so that
// a name has exactly one token.
func Unescape(token string) (string, error) {
	if token == "=" {
		return "", nil
	}
	if token == "" {
		return "", fmt.Errorf("token is empty")
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		c := token[i]
		if plain(c) {
			b.WriteByte(c)
			continue
		}
		if c != '=' {
			return "", fmt.Errorf("token %q: character %q must be written as =%02X", token, c, c)
		}
		if i+2 >= len(token) {
			return "", fmt.Errorf("token %q: = must be followed by two hexadecimal digits", token)
		}
		hi := strings.IndexByte(upperHex, token[i+1])
		lo := strings.IndexByte(upperHex, token[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("token %q: = must be followed by two hexadecimal digits in upper case", token)
		}
		v := byte(hi<<4 | lo)
		if plain(v) {
			return "", fmt.Errorf("token %q: %q must not be escaped", token, v)
		}
		b.WriteByte(v)
		i += 2
	}
	return b.String(), nil
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}
