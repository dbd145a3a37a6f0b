// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"bytes"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/steelyard-lb/steelyard/core"
)

// quickSample reads the body of a sample exactly as appendSample writes it, and takes no
// other: key by key, in that order, without a space or an escape. A node hears
// thousands a second from others, and reflection took ten times as long. What it does not
// take, for whatever reason, is for decodeSample to judge; what it takes it reads as that
// would, to which a fuzz test holds it.
func quickSample(subj string, data []byte) (s core.Sample, env envelope, ok bool) {
	if len(data) > MaxSampleBytes {
		return s, env, false
	}
	c := cursor{rest: data}
	var b sampleBody
	b.V = WireVersion
	c.must(`{"v":1,"src":`)
	b.Src = c.text()
	if c.may(`,"inst":`) {
		b.Inst = c.text()
	}
	if c.may(`,"seq":`) {
		b.Seq = c.whole()
	}
	c.must(`,"ts":`)
	b.TS = c.time()
	if c.may(`,"ttl_ms":`) {
		b.TTL = int64(c.whole())
	}
	c.must(`,"service":`)
	b.Service = c.text()
	c.must(`,"backend":`)
	b.Backend = c.text()
	c.must(`,"probe":`)
	b.Probe = c.text()
	c.kind(&b)
	metrics := c.metrics()
	if c.may(`,"took_seconds":`) {
		b.Took = c.number()
	}
	if c.may(`,"admin":`) {
		c.failed = b.Admin.UnmarshalText(c.quoted()) != nil || c.failed
	}
	c.must(`}`)
	if c.failed || len(c.rest) > 0 || b.check() != nil || !isProbeSubject(subj, &b) {
		return s, env, false
	}
	s, env = b.sample(), b.envelope()
	s.Metrics = metrics
	return s, env, true
}

// kind reads what comes between the names of a sample and its metrics.
func (c *cursor) kind(b *sampleBody) {
	if c.may(`,"type":`) {
		b.Type = c.text()
	}
	if c.may(`,"role":`) {
		b.Role = core.Role(c.text())
	}
	c.must(`,"ok":`)
	good := c.may(`true`)
	if b.OK = &good; !good {
		c.must(`false`)
	}
	if c.may(`,"code":`) {
		b.Code = core.Code(c.text())
	}
	if c.may(`,"detail":`) {
		b.Detail = c.text()
	}
}

// metrics reads metrics whose names go up, so that none is there twice.
func (c *cursor) metrics() []core.Metric {
	if !c.may(`,"metrics":{`) {
		return nil
	}
	var out []core.Metric
	for !c.failed && len(out) <= MaxMetrics {
		m := c.metric()
		if n := len(out); n > 0 && out[n-1].Name >= m.Name {
			c.failed = true
		}
		if out == nil {
			out = make([]core.Metric, 0, 2)
		}
		out = append(out, m)
		if !c.may(`,`) {
			break
		}
	}
	c.must(`}`)
	c.failed = c.failed || len(out) > MaxMetrics
	return out
}

func (c *cursor) metric() core.Metric {
	var b metricBody
	name := c.text()
	c.must(`:{"value":`)
	value := c.number()
	b.Value = &value
	if c.may(`,"unit":`) {
		b.Unit = c.text()
	}
	if c.may(`,"window_seconds":`) {
		b.Window = c.number()
	}
	if c.may(`,"at":`) {
		at := c.time()
		b.At = &at
	}
	c.must(`}`)
	if c.failed || b.check(name) != nil {
		c.failed = true
		return core.Metric{}
	}
	return b.metric(name)
}

// isProbeSubject reports whether the names of a body are those of its subject. Escape
// leaves a name one token only, so that the subject can be written and compared.
func isProbeSubject(subj string, b *sampleBody) bool {
	var space [256]byte
	want := append(space[:0], Prefix+"."+string(ProbeClass)...)
	for _, name := range [...]string{b.Service, b.Backend, b.Probe, b.Src} {
		want = append(want, '.')
		want = appendEscaped(want, name)
	}
	return subj == string(want)
}

// A cursor reads a body from the front. After the first thing that is not as it
// should be it has failed, and says nothing more of use.
type cursor struct {
	rest   []byte
	failed bool
}

// may takes a text if it comes next.
func (c *cursor) may(text string) bool {
	if len(c.rest) < len(text) || string(c.rest[:len(text)]) != text {
		return false
	}
	c.rest = c.rest[len(text):]
	return true
}

func (c *cursor) must(text string) {
	if !c.may(text) {
		c.failed = true
	}
}

// quoted is what stands between two quotes, without any escape.
func (c *cursor) quoted() []byte {
	c.must(`"`)
	end := bytes.IndexByte(c.rest, '"')
	if c.failed || end < 0 {
		c.failed = true
		return nil
	}
	text := c.rest[:end]
	c.rest = c.rest[end+1:]
	for _, ch := range text {
		if ch < ' ' || ch == '\\' {
			c.failed = true
		}
	}
	return text
}

// text is a string of valid UTF-8; of a word that steelyard knows it makes no copy.
func (c *cursor) text() string {
	text := c.quoted()
	if known, ok := words[string(text)]; ok {
		return known
	}
	c.failed = c.failed || !utf8.Valid(text)
	return string(text)
}

// words are those that most samples consist of.
var words = func() map[string]string {
	known := []string{"", "ratio", "seconds", "count", "per_second", "bytes", string(core.HealthRole), string(core.MetricRole),
		core.ProbeTCP, core.ProbeHTTP, core.ProbeSNMPCPU, string(core.L4OK), string(core.L7OK), string(core.SNMPOK)}
	for name := range units {
		known = append(known, name)
	}
	m := make(map[string]string, len(known))
	for _, w := range known {
		m[w] = w
	}
	return m
}()

func (c *cursor) time() stamp {
	var at time.Time
	if at.UnmarshalText(c.quoted()) != nil {
		c.failed = true
	}
	return stamp(at.UTC())
}

// digits takes the digits that come next; none are a failure.
func (c *cursor) digits() []byte {
	n := 0
	for n < len(c.rest) && '0' <= c.rest[n] && c.rest[n] <= '9' {
		n++
	}
	text := c.rest[:n]
	c.rest = c.rest[n:]
	c.failed = c.failed || n == 0
	return text
}

// whole is a whole number of at most 18 digits, which no type here is too small for.
func (c *cursor) whole() uint64 {
	const most = 18
	text := c.digits()
	if len(text) > most || len(text) > 1 && text[0] == '0' {
		c.failed = true
	}
	if c.failed {
		return 0
	}
	var n uint64
	for _, d := range text {
		n = 10*n + uint64(d-'0')
	}
	return n
}

// number is one as JSON has them.
func (c *cursor) number() float64 {
	from := c.rest
	c.may(`-`)
	if first := c.digits(); len(first) > 1 && first[0] == '0' {
		c.failed = true
	}
	if c.may(`.`) {
		c.digits()
	}
	if c.may(`e`) || c.may(`E`) {
		if !c.may(`-`) {
			c.may(`+`)
		}
		c.digits()
	}
	if c.failed {
		return 0
	}
	n, err := strconv.ParseFloat(string(from[:len(from)-len(c.rest)]), 64)
	c.failed = err != nil
	return n
}
