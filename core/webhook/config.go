// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/template"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// The defaults and limits of a hook.
const (
	DefaultTimeout = 5 * time.Second
	DefaultQueue   = 1000
	maxQueueBytes  = 16 << 20 // of one hook
	maxAnswer      = 4 << 10  // of what a receiver says
)

// A Config is one hook.
type Config struct {
	Name string
	URL  core.Secret
	// Patterns are subjects of the bus with wildcards, such as health.> and
	// event.error.*.
	Patterns []string
	// Secret signs each request as Standard Webhooks has it; empty: no signature. One
	// that begins with whsec_ is base64 behind that.
	Secret   core.Secret
	Headers  []core.Header
	Timeout  time.Duration // of one attempt; 0 means DefaultTimeout
	RetryFor time.Duration // 0: one attempt only
	CA       string        // path of a PEM file; empty means the system's authorities
	Template string        // of the body; empty: the CloudEvent
	Queue    int           // messages that wait at most; 0 means DefaultQueue
	// Node is whose messages are sent; those of other nodes on the same bus are their own
	// to send. Empty: everybody's.
	Node string
}

// errURL says no more, for the text may hold a password.
var errURL = errors.New("not an http or https URL with a host")

// newHook checks a configuration and reads its files.
func newHook(cfg Config) (*hook, error) {
	cfg.Timeout = cmp.Or(cfg.Timeout, DefaultTimeout)
	cfg.Queue = cmp.Or(cfg.Queue, DefaultQueue)
	h := &hook{cfg: cfg, queue: newQueue(cfg.Queue), json: isJSON(cfg.Headers)}
	u, err := url.Parse(cfg.URL.Reveal())
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, h.wrong("url", errURL)
	}
	h.host, h.hidden = u.Scheme+"://"+u.Host, hide(u, cfg)
	if len(cfg.Patterns) == 0 {
		return nil, h.wrong("events", errors.New("is empty: it would never be told of anything"))
	}
	if h.key, err = signingKey(cfg.Secret); err != nil {
		return nil, h.wrong("secret", err)
	}
	if h.body, err = parseTemplate(cfg.Template, h.json); err != nil {
		return nil, h.wrong("template", err)
	}
	if h.client, err = newClient(cfg); err != nil {
		return nil, h.wrong("ca", err)
	}
	return h, nil
}

func (h *hook) wrong(key string, err error) error {
	return fmt.Errorf("webhooks.%s.%s: %w", h.cfg.Name, key, err)
}

func newClient(cfg Config) (*http.Client, error) {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		MaxConnsPerHost:     1,
		IdleConnTimeout:     time.Minute,
		TLSHandshakeTimeout: cfg.Timeout,
		ForceAttemptHTTP2:   true,
	}
	if cfg.CA != "" {
		pem, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", cfg.CA)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Transport: t,
		Timeout:   cfg.Timeout,
		// What is sent is for the host that the operator named, and for no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// A hook is one receiver.
type hook struct {
	cfg    Config
	host   string
	key    []byte             // of the signature; nil: none
	body   *template.Template // nil: the CloudEvent
	json   bool               // the receiver is told that it is
	hidden *strings.Replacer  // of what a receiver says
	client *http.Client
	queue  *queue
	stats  stats
}
