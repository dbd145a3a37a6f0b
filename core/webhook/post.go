// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A request is what is sent for a message, the same in each attempt but for the
// signature, which holds the time.
type request struct {
	subject string
	id      string
	body    []byte
	kind    string // content type
	at      time.Time
}

// A refusal is an answer that is not one of success.
type refusal struct {
	status string
	said   string
	final  bool // trying again is of no use
	after  time.Duration
}

func (r *refusal) Error() string {
	if r.said == "" {
		return "it answers " + r.status
	}
	return "it answers " + r.status + ": " + r.said
}

// post makes one attempt.
func (h *hook) post(ctx context.Context, r request) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.cfg.URL.Reveal(), bytes.NewReader(r.body))
	if err != nil {
		return errURL
	}
	req.Header.Set("Content-Type", r.kind)
	req.Header.Set("User-Agent", "steelyard")
	h.sign(req.Header, r, time.Now())
	for _, f := range h.cfg.Headers {
		req.Header.Set(f.Name, f.Value.Reveal())
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return fmt.Errorf("send to %s: %w", h.host, withoutURL(err))
	}
	defer func() { _ = resp.Body.Close() }()
	// Read, so that the connection can be used again.
	said, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return judge(resp, h.hidden, said)
}

// secretLen is from where on a word of the request is taken for a secret.
const secretLen = 6

// hide makes what takes the secrets of a request out of an answer: many receivers quote
// the path that they do not know, and some what they were sent. Words are enough, for
// an answer may write a slash in another way.
func hide(u *url.URL, cfg Config) *strings.Replacer {
	words := strings.FieldsFunc(u.Path+"/"+u.EscapedPath()+"/"+u.RawQuery, func(r rune) bool { return strings.ContainsRune("/&=", r) })
	for _, f := range cfg.Headers {
		if !strings.EqualFold(f.Name, "Content-Type") {
			words = append(words, strings.Fields(f.Value.Reveal())...)
		}
	}
	words = append(words, cfg.Secret.Reveal())
	slices.SortFunc(words, func(a, b string) int { return len(b) - len(a) }) // one may begin as another
	var pairs []string
	for _, w := range words {
		if len(w) >= secretLen {
			pairs = append(pairs, w, "…")
		}
	}
	return strings.NewReplacer(pairs...)
}

// withoutURL takes the URL out of an error of the HTTP client.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// judge makes an error of an answer that is none of success.
func judge(resp *http.Response, hidden *strings.Replacer, said []byte) error {
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil
	}
	r := &refusal{status: hidden.Replace(resp.Status), said: firstLine(hidden.Replace(string(said))), final: true}
	switch code := resp.StatusCode; {
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code == http.StatusTooEarly:
		r.final, r.after = false, retryAfter(resp.Header.Get("Retry-After"), time.Now())
	case code >= 300 && code < 400:
		r.said = "redirects are not followed; give the URL that it leads to"
	}
	return r
}

// retryAfter reads seconds or a date (RFC 9110 section 10.2.3); 0 is no wish.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// firstLine is the beginning of an answer, for a log.
func firstLine(said string) string {
	const most = 200
	line, _, _ := strings.Cut(strings.TrimSpace(strings.ToValidUTF8(said, "?")), "\n")
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "…"
	}
	return line
}
