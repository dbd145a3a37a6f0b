// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"maps"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// leastSecret is how long a secret is at least: what is as short as "v1" is none.
const leastSecret = 4

// plainHeaders hold nothing to hide, and what they say is needed in sentences.
var plainHeaders = []string{"host", "accept", "content-type", "user-agent"}

// secretsOf are the texts of a spec that the other side may repeat and that nobody is
// to see: a wrong password in a refusal, a header on a page for debugging, a variable
// in what a command prints. SNMP's are not among them: sentences about an agent are of
// our own words, of which a community may be one.
func secretsOf(s *core.ProbeSpec) []string {
	var secrets []string
	add := func(s core.Secret) {
		if len(s) >= leastSecret {
			secrets = append(secrets, s.Reveal())
		}
	}
	for _, headers := range [...][]core.Header{s.HTTP.Headers, s.Prometheus.Headers, s.GRPC.Metadata} {
		for _, h := range headers {
			if slices.Contains(plainHeaders, strings.ToLower(h.Name)) {
				continue
			}
			add(h.Value)
			_, token, _ := strings.Cut(h.Value.Reveal(), " ") // as in "Bearer TOKEN"
			add(core.Secret(token))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Exec.Env)) {
		add(s.Exec.Env[name])
	}
	return secrets
}

// hide takes secrets out of a text for people. Where a quotation was cut off within a
// secret, its beginning goes, too.
func hide(text string, secrets []string) string {

	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, core.Secret(secret).String())
		for _, end := range [...]string{"…", `"`} {
			text = hideCut(text, secret, end)
		}
	}
	return text
}

// hideCut takes out beginnings of a secret that stand before end.
func hideCut(text, secret, end string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, end)
		if found {
			for n := min(len(secret), len(before)); n >= leastSecret; n-- {
				if rest, cut := strings.CutSuffix(before, secret[:n]); cut {
					before = rest + core.Secret(secret).String()
					break
				}
			}
		}
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString(end)
		text = after
	}
}
