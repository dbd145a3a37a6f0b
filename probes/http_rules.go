// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// checkBody holds the body against the rules, one after the other, until one does not
// hold: wrong is the sentence about it. doc is the body as JSON, nil if it is none or
// nobody wants it.
func (p *httpPlan) checkBody(ctx context.Context, a answer) (doc any, wrong string) {
	if p.expect != nil {
		at := p.expect.FindIndex(a.body)
		note(ctx, "expect", "%#q: %s", p.expect, foundAt(at))
		if at == nil {
			return nil, fmt.Sprintf("the body does not match expect %#q%s", clip(p.expect.String()), a.cut(p.maxBody))
		}
	}
	if p.reject != nil {
		at := p.reject.FindIndex(a.body)
		note(ctx, "reject", "%#q: %s", p.reject, foundAt(at))
		if at != nil {
			return nil, fmt.Sprintf("the body matches reject %#q: %q", clip(p.reject.String()), clip(string(a.body[at[0]:at[1]])))
		}
	}
	if p.digest != nil {
		got := p.digest.of(a.body)
		note(ctx, "digest", "%s:%s", p.digest.name, got)
		if got != p.digest.want || a.more {
			return nil, fmt.Sprintf("the body's digest is %s:%s, not the expected one%s", p.digest.name, got, a.cut(p.maxBody))
		}
	}
	return p.checkJSON(ctx, a)
}

func (p *httpPlan) checkJSON(ctx context.Context, a answer) (doc any, wrong string) {
	if len(p.json)+len(p.metrics) == 0 {
		return nil, ""
	}
	doc, err := parseJSON(a.body)
	if err != nil {
		note(ctx, "json", "%v", err)
		if len(p.json) > 0 {
			return nil, fmt.Sprintf("the body is not JSON: %s%s", clip(err.Error()), a.cut(p.maxBody))
		}
		return nil, ""
	}
	for _, rule := range p.json {
		is, ok := rule.check(doc)
		note(ctx, "json", "%s: it is %s", rule, is)
		if !ok {
			return nil, fmt.Sprintf("%q of the body is %s, want %s", clip(rule.spec.Path), is, strings.TrimPrefix(rule.spec.Op+" "+clip(rule.spec.Want), "== "))
		}
	}
	return doc, ""
}

// cut says that a rule saw only the beginning of a body.
func (a answer) cut(limit int64) string {
	if !a.more {
		return ""
	}
	return fmt.Sprintf("; only its first %d bytes were read: raise max_body", limit)
}

func foundAt(at []int) string {
	if at == nil {
		return "no match"
	}
	return fmt.Sprintf("matches bytes %d to %d", at[0], at[1])
}

// A digest is a sum that a body must have.
type digest struct {
	name string
	sum  func() hash.Hash
	want string // in lower-case hex
}

// parseDigest reads "sha256:HEX" or "md5:HEX"; nil if text is empty.
func parseDigest(text string) (*digest, error) {
	if text == "" {
		return nil, nil
	}
	name, want, _ := strings.Cut(text, ":")
	d := &digest{name: name, want: strings.ToLower(want)}
	switch name {
	case "sha256":
		d.sum = sha256.New
	case "md5": // of keepalived; it keeps no secret here
		d.sum = md5.New
	default:
		return nil, fmt.Errorf("digest %q: want sha256:HEX or md5:HEX", clip(text))
	}
	if b, err := hex.DecodeString(d.want); err != nil || len(b) != d.sum().Size() {
		return nil, fmt.Errorf("digest %q: want %d hexadecimal digits after the colon", clip(text), 2*d.sum().Size())
	}
	return d, nil
}

func (d *digest) of(body []byte) string {
	h := d.sum()
	_, _ = h.Write(body) // a hash takes everything
	return hex.EncodeToString(h.Sum(nil))
}

// httpPicks is the state behind the metrics of a spec: counters as they were.
type httpPicks struct {
	pickers []picker
	again   time.Duration // until one more run tells more
}

// add picks the metrics out of a JSON body. A number that is missing speaks against a
// metric probe that has nothing else to say, never against a backend.
func (h *httpPicks) add(ctx context.Context, p *httpPlan, doc any, at time.Time, r *result) {
	var sel selection
	for i := range h.pickers {
		sel.add(ctx, &h.pickers[i], jsonReadings(p.metrics[i], doc), 0, at)
	}
	h.again = sel.again(p.spec.Interval)
	if p.spec.Role == core.MetricRole && len(sel.metrics)+len(sel.waits) == 0 {
		*r = bad(core.MetricNone, "%s", sel.detail())
		return
	}
	r.metrics = append(r.metrics, sel.metrics...)
	r.detail += ", " + sel.detail()
}

// enough implements patient: a rate needs a second answer.
func (p *httpProbe) enough(result) time.Duration {
	if p.picks == nil {
		return 0
	}
	return p.picks.again
}
