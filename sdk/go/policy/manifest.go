// SPDX-License-Identifier: Apache-2.0

package policy

import "strconv"

// Manifest is what a module tells the host about its policies, as JSON. It is
// written by hand because encoding/json would double the size of a module.
func Manifest(policies []*Policy) []byte {
	b := []byte(`{"abi":1,"policies":[`)
	for i, p := range policies {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = str(b, "name", p.Name)
		b = append(b, ',')
		b = str(b, "about", p.About)
		b = append(b, `,"backend_slots":`...)
		b = strconv.AppendInt(b, int64(p.BackendSlots), 10)
		b = append(b, `,"service_slots":`...)
		b = strconv.AppendInt(b, int64(p.ServiceSlots), 10)
		b = append(b, `,"state_version":`...)
		b = strconv.AppendInt(b, int64(p.StateVersion), 10)
		if p.Reads != nil {
			b = names(b, "reads", p.Reads)
		}
		b = names(b, "metrics", p.Metrics)
		b = append(b, `,"params":[`...)
		for j, q := range p.Params {
			if j > 0 {
				b = append(b, ',')
			}
			b = param(b, q)
		}
		b = append(b, "]}"...)
	}
	return append(b, "]}"...)
}

func names(b []byte, key string, list []string) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	b = append(b, `":[`...)
	for i, name := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = quoted(b, name)
	}
	return append(b, ']')
}

func param(b []byte, q Param) []byte {
	b = append(b, '{')
	b = str(b, "name", q.Name)
	b = num(b, "default", q.Default)
	if q.Min != 0 || q.Max != 0 {
		b = num(b, "min", q.Min)
		b = num(b, "max", q.Max)
	}
	if q.Type != "" {
		b = append(b, ',')
		b = str(b, "type", q.Type)
	}
	b = append(b, ',')
	b = str(b, "unit", q.Unit)
	b = append(b, ',')
	b = str(b, "about", q.About)
	return append(b, '}')
}

func num(b []byte, key string, v float64) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	b = append(b, '"', ':')
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

func str(b []byte, key, s string) []byte {
	b = append(b, '"')
	b = append(b, key...)
	return quoted(append(b, '"', ':'), s)
}

func quoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, ' ')
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
