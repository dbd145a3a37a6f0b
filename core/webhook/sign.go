// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// The fields of Standard Webhooks (standardwebhooks.com), for which there are
// libraries that check them in most languages.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp"
	headerSignature = "Webhook-Signature"
)

// signingKey is the key behind a secret; nil without one.
func signingKey(s core.Secret) ([]byte, error) {
	text, encoded := strings.CutPrefix(s.Reveal(), "whsec_")
	switch {
	case s == "":
		return nil, nil
	case !encoded:
		return []byte(text), nil
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) == 0 {
		return nil, errors.New("begins with whsec_, and what follows is not base64; leave the prefix out to use the text as it is")
	}
	return key, nil
}

// sign sets the id, and with a key the signature over id, time and body: whoever
// repeats an old request later is found out by its time.
func (h *hook) sign(header http.Header, r request, now time.Time) {
	at := strconv.FormatInt(now.Unix(), 10)
	header.Set(headerID, r.id)
	header.Set(headerTimestamp, at)
	if h.key != nil {
		header.Set(headerSignature, "v1,"+Sign(h.key, r.id, at, r.body))
	}
}

// Sign is the signature of a request: base64 of the HMAC-SHA256 over id.timestamp.body,
// the timestamp as it is in the header.
func Sign(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
