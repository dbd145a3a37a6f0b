// SPDX-License-Identifier: Apache-2.0

package core

import "time"

// A WebhookView is what became of the messages to one webhook since the start.
type WebhookView struct {
	Name    string `json:"name"`
	Host    string `json:"host"` // of its URL, with the scheme: the rest may hold a token
	Sent    uint64 `json:"sent_total"`
	Failed  uint64 `json:"failed_total"`  // given up: refused, or too old
	Dropped uint64 `json:"dropped_total"` // the oldest, since the queue was full
	Retries uint64 `json:"retries_total"`
	Queued  int    `json:"queued"`
	// LastError is why the latest attempt failed; empty if it did not.
	LastError string    `json:"last_error,omitempty"`
	LastAt    time.Time `json:"last_sent_at,omitzero"`
}
