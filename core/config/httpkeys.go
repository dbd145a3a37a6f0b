// SPDX-License-Identifier: Apache-2.0

package config

var httpKey = key{name: "http", kind: kObject, alone: "{listen: %s}", doc: "metrics, health and metrics of monitors over HTTP; without these keys nothing listens", keys: []key{
	{name: "listen", kind: kText, def: `""`, doc: "address and port, such as 127.0.0.1:9190; empty: none"},
	{name: "tls", kind: kObject, doc: "needed when http.listen is not a loopback address", keys: []key{
		{name: "cert", kind: kText, def: `""`, file: true, doc: "certificate chain, PEM"},
		{name: "key", kind: kText, def: `""`, file: true, doc: "private key, PEM"},
		{name: "ca", kind: kText, def: `""`, file: true, doc: "authorities that sign the certificates of clients, PEM; with it a client must show one"},
	}},
	{name: "users", kind: kMap, apart: true, doc: "who may use http.listen, with a password or a token; needed when that is not a loopback address",
		elem: &key{name: "prometheus", kind: kObject, keys: []key{
			{name: "password", kind: kSecret, doc: "the password of basic authentication; give this one, or one of the next five"},
			{name: "password_file", kind: kText, file: true, either: "password", example: "./prometheus.password", doc: "file that holds the password"},
			{name: "password_env", kind: kText, either: "password", example: "PROMETHEUS_PASSWORD", doc: "environment variable that holds the password"},
			{name: "token", kind: kSecret, either: "password", doc: "a bearer token in place of a password"},
			{name: "token_file", kind: kText, file: true, either: "password", example: "./prometheus.token", doc: "file that holds the token"},
			{name: "token_env", kind: kText, either: "password", example: "PROMETHEUS_TOKEN", doc: "environment variable that holds the token"},
			{name: "rights", kind: kList, one: true, def: "[read]", elem: &key{kind: kWord, enum: []string{RightRead, RightPush}},
				doc: "read: /metrics and what /readyz says in full; push: /v1/metrics and /v1/alerts"},
		}}},
	{name: "max_series", kind: kInt, def: "100000", min: 100, max: 10_000_000, doc: "most series that /metrics gives; those of backends are left out above it"},
}}

var webhooksKey = key{name: "webhooks", kind: kMap, apart: true, doc: "who is told of events over HTTP", elem: &key{name: "pager", kind: kObject, alone: "{url: …}", keys: []key{
	{name: "url", kind: kSecret, doc: "where events are sent to, https or a loopback address; never shown, since many hold a token. Give this one, or one of the next two"},
	{name: "url_file", kind: kText, file: true, either: "url", example: "./pager.url", doc: "file that holds the address"},
	{name: "url_env", kind: kText, either: "url", example: "PAGER_URL", doc: "environment variable that holds the address"},
	{name: "events", kind: kList, one: true, def: "[health.>, event.>]", elem: &key{kind: kText}, doc: "subjects of the bus, without steelyard.v1 in front"},
	{name: "secret", kind: kSecret, doc: "key of the signature that each request carries, as Standard Webhooks has it; none: no signature"},
	{name: "secret_file", kind: kText, file: true, either: "secret", example: "./pager.secret", doc: "file that holds the key"},
	{name: "secret_env", kind: kText, either: "secret", example: "PAGER_SECRET", doc: "environment variable that holds the key"},
	{name: "headers", kind: kNamed, pattern: headerPattern, hint: "the name of a header field, such as X-Source", example: `{Authorization: "Bearer …"}`,
		elem: &key{kind: kSecret}, doc: "fields of the request; their values are never shown"},
	{name: "timeout", kind: kDuration, def: "5s", min: 0.1, max: 60, doc: "for one request"},
	{name: "retry_for", kind: kDuration, def: "10m", max: 86400, doc: "how long a message is sent again before it is given up; 0 for never"},
	{name: "ca", kind: kText, def: `""`, file: true, doc: "authorities to trust, PEM; empty means the system's"},
	{name: "template", kind: kText, def: `""`, doc: "Go template of the body, such as {\"text\": {{json .Text}}}; empty: a CloudEvent"},
}}}
