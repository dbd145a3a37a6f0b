// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"weak"

	"github.com/steelyard-lb/steelyard/core"
)

// An httpPlan is what all probes of one spec have in common: 16,000 backends of one
// service hold one.
type httpPlan struct {
	spec core.ProbeSpec // a copy: the plan is of this very spec
	tls  *tls.Config    // nil for http
	host string         // empty means the backend's address
	req  *http.Request  // read only, without its Host if that is the address
	// before and after are the request on the wire, with the host between them.
	before, after string
	h2            *http.Transport // nil for HTTP/1.1

	status         []core.StatusRange
	expect, reject *regexp.Regexp // nil means none
	digest         *digest        // nil means none
	json           []jsonRule
	metrics        []jsonPath // of spec.Metrics
	maxBody        int64
}

// httpPlans are those in use. The key is the spec itself and not what it says, because
// a spec is large and its secrets compare as any other text.
var httpPlans shared[weak.Pointer[core.ProbeSpec], httpPlan]

// planHTTP is the plan of a spec. The error is a sentence about what is impossible in it.
func planHTTP(spec *core.ProbeSpec) (*httpPlan, error) {
	same := func(p *httpPlan) bool { return reflect.DeepEqual(&p.spec, spec) }
	return httpPlans.get(weak.Make(spec), same, func() (*httpPlan, error) { return makeHTTPPlan(*spec) })
}

// goodStatus is what counts without a list: any success and any redirect.
var goodStatus = []core.StatusRange{{From: 200, To: 399}}

func makeHTTPPlan(spec core.ProbeSpec) (*httpPlan, error) {
	p := &httpPlan{spec: spec, host: spec.HTTP.Host, status: spec.HTTP.Status}
	if len(p.status) == 0 {
		p.status = goodStatus
	}
	p.maxBody = int64(min(cmp.Or(max(spec.HTTP.MaxBody, 0), defaultBody), maxBody))
	if err := p.request(); err != nil {
		return nil, err
	}
	if err := p.protocol(); err != nil {
		return nil, err
	}
	return p, p.rules()
}

// placeholder stands for the host where that is the backend's address.
const placeholder = "backend.invalid"

// request makes the request, which is then the same in each run.
func (p *httpPlan) request() error {
	h := p.spec.HTTP
	path := cmp.Or(h.Path, "/")
	if !strings.HasPrefix(path, "/") && path != "*" {
		return fmt.Errorf("path %q does not begin with a /", path)
	}
	for _, f := range h.Headers {
		if strings.EqualFold(f.Name, "Host") {
			p.host = cmp.Or(p.host, f.Value.Reveal())
		}
	}
	host := cmp.Or(p.host, placeholder)
	scheme := "http"
	if h.TLS.Enabled {
		scheme = "https"
	}
	req, err := http.NewRequest(cmp.Or(h.Method, http.MethodGet), scheme+"://"+host+strings.TrimPrefix(path, "*"), strings.NewReader(h.Body))
	if err != nil {
		return fmt.Errorf("request for host %q, path %q: %w", clip(host), clip(path), cause(err))
	}
	if path == "*" { // as in OPTIONS *
		req.URL = &url.URL{Scheme: scheme, Host: host, Opaque: "*"}
	}
	req.Header = http.Header{
		"User-Agent":      {"steelyard"},
		"Accept":          {"*/*"},
		"Accept-Encoding": {"identity"}, // the rules are about the text itself
	}
	own := make(http.Header)
	for _, f := range h.Headers {
		if !validField(f.Name, f.Value.Reveal()) {
			return fmt.Errorf("header %q: name or value holds a character that none may hold", clip(f.Name))
		}
		own.Add(f.Name, f.Value.Reveal())
	}
	for name, values := range own {
		req.Header[name] = values
	}
	req.Close = true
	p.req = req
	return p.render()
}

// render writes the request once for all runs.
func (p *httpPlan) render() error {
	var b bytes.Buffer
	if err := p.req.Write(&b); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	p.req.Body = nil
	line := "\r\nHost: " + p.req.Host
	before, after, ok := strings.Cut(b.String(), line+"\r\n")
	if !ok {
		return errors.New("request: it has no Host")
	}
	p.before, p.after = before+"\r\nHost: ", "\r\n"+after
	return nil
}

// validField reports whether a header field may be sent: RFC 9110 §5.
func validField(name, value string) bool {
	const token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if name == "" || strings.Trim(name, token) != "" {
		return false
	}
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// protocol prepares TLS and HTTP/2.
func (p *httpPlan) protocol() error {
	h := p.spec.HTTP
	var alpn []string
	if h.HTTP2 {
		p.h2 = newHTTP2()
		alpn = []string{"h2"}
	}
	if !h.TLS.Enabled {
		return nil
	}
	name := ""
	if p.host != "" {
		name = p.req.URL.Hostname()
	}
	var err error
	p.tls, err = newTLS(h.TLS, name, alpn...)
	return err
}

// rules compiles what the answer is held against.
func (p *httpPlan) rules() (err error) {
	h := p.spec.HTTP
	if p.expect, err = compile("expect", h.Expect); err != nil {
		return err
	}
	if p.reject, err = compile("reject", h.Reject); err != nil {
		return err
	}
	if p.digest, err = parseDigest(h.Digest); err != nil {
		return err
	}
	for _, r := range h.JSON {
		rule, err := parseJSONRule(r)
		if err != nil {
			return err
		}
		p.json = append(p.json, rule)
	}
	for _, m := range p.spec.Metrics {
		path, err := parsePath(m.From)
		if err != nil {
			return fmt.Errorf("metric %s: %w", m.Name, err)
		}
		p.metrics = append(p.metrics, path)
	}
	return nil
}

// compile is a regular expression of the configuration, nil if it is empty.
func compile(key, text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, nil
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return re, nil
}

// reads reports whether somebody wants to see the body.
func (p *httpPlan) reads() bool {
	return p.expect != nil || p.reject != nil || p.digest != nil || len(p.json)+len(p.metrics) > 0
}

// hostFor is the Host of a request to addr, as browsers write it: without the port that
// goes without saying.
func (p *httpPlan) hostFor(addr netip.AddrPort) string {
	port := uint16(80)
	if p.tls != nil {
		port = 443
	}
	addr = netip.AddrPortFrom(addr.Addr().WithZone(""), addr.Port()) // a zone means nothing over there
	switch {
	case p.host != "":
		return p.req.Host
	case addr.Port() == port:
		return bracketed(addr.Addr())
	}
	return addr.String()
}

func bracketed(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// body is a new reader of the request's body; nil if it has none.
func (p *httpPlan) body() io.ReadCloser {
	if p.spec.HTTP.Body == "" {
		return nil
	}
	return io.NopCloser(strings.NewReader(p.spec.HTTP.Body))
}
