// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"slices"
)

// listener is where metrics and health are asked for over HTTP.
func (b *builder) listener() HTTP {
	r := b.raw.HTTP
	out := HTTP{Listen: r.Listen, TLS: HTTPTLS(b.tlsFiles("http.tls", r.TLS)), MaxSeries: r.MaxSeries}
	for _, name := range slices.Sorted(maps.Keys(r.Users)) {
		out.Users = append(out.Users, b.httpUser(join("http.users", name), name, r.Users[name]))
	}
	b.checkHTTP(r)
	if r.Listen == "" {
		return HTTP{}
	}
	return out
}

func (b *builder) httpUser(path, name string, r rawHTTPUser) HTTPUser {
	u := HTTPUser{Name: name, Rights: r.Rights}
	token := b.set(path, "token", "token_file", "token_env")
	if b.ways(path, "password", token[len(path)+1:]) == 0 && !b.spoiltBelow(path) {
		b.wrong(path, "password or token; each may also end in _file or _env", "nothing says how user %s proves who it is", name)
	}
	u.Password = b.proof(path, "password", r.Password, r.PasswordFile, r.PasswordEnv)
	u.Token = b.proof(path, "token", r.Token, r.TokenFile, r.TokenEnv)
	if len(r.Rights) == 0 {
		b.wrong(join(path, "rights"), "read, push or both", "%s may do nothing", name)
	}
	return u
}

// checkHTTP keeps passwords off the network in clear, and strangers out.
func (b *builder) checkHTTP(r rawHTTP) {
	if b.spoilt["http.listen"] {
		return
	}
	if r.Listen == "" {
		for _, key := range []string{"http.users", "http.tls"} {
			if len(r.Users) > 0 && key == "http.users" || r.TLS != (rawTLS{}) && key == "http.tls" {
				b.wrong(key, "set http.listen, such as 127.0.0.1:9190", "%s, but http listens nowhere", key)
			}
		}
		return
	}
	host, ok := b.listenHost("http.listen", r.Listen, "127.0.0.1:9190")
	if !ok || loopback(host) {
		return
	}
	noTLS, noUsers := r.TLS.Cert == "" && !b.spoiltBelow("http.tls"), len(r.Users) == 0 && !b.spoiltBelow("http.users")
	switch {
	case noTLS && noUsers:
		b.wrong("http.listen", "set http.tls and add a user to http.users, or listen on 127.0.0.1",
			"%q is not a loopback address: without TLS passwords would cross the network in clear, and without users everybody could read and push", host)
	case noTLS:
		b.wrong("http.listen", "set http.tls, or listen on 127.0.0.1", "%q is not a loopback address, and passwords would cross the network in clear", host)
	case noUsers:
		b.wrong("http.listen", "add one to http.users, or listen on 127.0.0.1", "%q is not a loopback address, and without users everybody could read and push", host)
	}
}
