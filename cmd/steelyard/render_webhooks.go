// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"

	"github.com/steelyard-lb/steelyard/core"
)

// webhookStatus prints a line for each webhook.
func webhookStatus(w io.Writer, p painter, hooks []core.WebhookView) {
	name := "webhooks"
	for _, h := range hooks {
		var paint color
		if h.LastError != "" || h.Dropped > 0 {
			paint = yellow
		}
		field(w, p, name, webhookText(h), paint)
		name = ""
	}
}

func webhookText(h core.WebhookView) string {
	text := fmt.Sprintf("%s (%s): %d sent", h.Name, h.Host, h.Sent)
	for _, c := range []struct {
		n    uint64
		what string
	}{{uint64(h.Queued), "waiting"}, {h.Failed, "given up"}, {h.Dropped, "dropped, the queue was full"}} {
		if c.n > 0 {
			text += fmt.Sprintf(", %d %s", c.n, c.what)
		}
	}
	if h.LastError != "" {
		text += "; the latest attempt failed: " + h.LastError
	}
	return text
}
