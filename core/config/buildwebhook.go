// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/base64"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

func (b *builder) webhooks() []Webhook {
	var out []Webhook
	for _, name := range slices.Sorted(maps.Keys(b.raw.Webhooks)) {
		out = append(out, b.webhook(join("webhooks", name), name, b.raw.Webhooks[name]))
	}
	return out
}

func (b *builder) webhook(path, name string, r rawWebhook) Webhook {
	w := Webhook{
		Name: name, Timeout: r.Timeout, RetryFor: r.RetryFor, Template: r.Template,
		URL:     b.secret(path, "url", true, r.URL, r.URLFile, r.URLEnv),
		Secret:  b.secret(path, "secret", false, r.Secret, r.SecretFile, r.SecretEnv),
		Events:  b.subjects(join(path, "events"), r.Events),
		Headers: b.headers(join(path, "headers"), r.Headers),
		CA:      b.resolve(join(path, "ca"), r.CA),
	}
	w.Host = b.webhookURL(path, w.URL)
	b.readable(join(path, "ca"), w.CA)
	if len(r.Events) == 0 {
		b.wrong(join(path, "events"), `such as [health.>], or [">"] for all of them`, "%s would be told of nothing", name)
	}
	b.checkSigning(b.set(path, "secret", "secret_file", "secret_env"), w.Secret)
	if b.opts.Template != nil && r.Template != "" && sendsJSON(w.Headers) {
		if err := b.opts.Template(r.Template); err != nil {
			b.wrong(join(path, "template"), "", "%v", err)
		}
	}
	return w
}

// checkSigning looks at the key of a signature, if there is one.
func (b *builder) checkSigning(at string, key core.Secret) {
	if !b.written(at) || b.spoilt[at] {
		return
	}
	if key == "" {
		b.wrong(at, "leave it out for no signature", "it is empty")
	}
	if text, ok := strings.CutPrefix(key.Reveal(), "whsec_"); ok {
		if _, err := base64.StdEncoding.DecodeString(text); err != nil {
			b.wrong(at, "copy it once more", "what follows whsec_ is no base64")
		}
	}
}

// sendsJSON reports whether the receiver is told that the body is JSON.
func sendsJSON(headers []core.Header) bool {
	for _, h := range headers {
		if strings.EqualFold(h.Name, "Content-Type") {
			return strings.Contains(strings.ToLower(h.Value.Reveal()), "json")
		}
	}
	return true
}

// webhookURL checks an address and returns what of it may be shown. No message
// quotes more of it: the path or the query of many is a token.
func (b *builder) webhookURL(path string, secret core.Secret) string {
	at := b.set(path, "url_file", "url_env", "url")
	if secret == "" || b.spoilt[at] {
		return ""
	}
	u, err := url.Parse(secret.Reveal())
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		b.wrong(at, "such as https://hooks.example.org/steelyard", "this is no address of https, nor of http")
		return ""
	case u.User != nil:
		b.wrong(at, `write headers: {Authorization: "Basic …"}`, "a user or password in an address would show in logs of others")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		b.warn(at, "use https", "what webhook %s is told crosses the network in clear", path[len("webhooks."):])
	}
	return u.Scheme + "://" + u.Host
}
