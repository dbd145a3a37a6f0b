// SPDX-License-Identifier: Apache-2.0

package core

import "log/slog"

// A Secret is a string that never shows itself: not in logs, not in JSON, not
// through fmt. Read it with Reveal, at the place that needs it.
type Secret string

const redacted = "(secret)"

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString keeps %#v from printing the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText keeps encoders from writing the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
