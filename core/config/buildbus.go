// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

func (b *builder) bus() Bus {
	r := b.raw.Bus
	out := Bus{Listen: r.Listen, Servers: r.Servers, TLS: BusTLS{
		Cert: b.resolve("bus.tls.cert", r.TLS.Cert), Key: b.resolve("bus.tls.key", r.TLS.Key)}}
	for _, name := range slices.Sorted(maps.Keys(r.Users)) {
		out.Users = append(out.Users, b.user(join("bus.users", name), name, r.Users[name]))
	}
	out.Login = b.login(r.Login)
	b.checkListen(r)
	b.checkTLS(out.TLS)
	b.checkServers(r)
	return out
}

// login joins an external cluster.
func (b *builder) login(r rawLogin) BusLogin {
	out := BusLogin{
		User: r.User, Password: b.secret("bus.login", "password", r.User != "", r.Password, r.PasswordFile, r.PasswordEnv),
		Credentials: b.resolve("bus.login.credentials", r.Credentials), CA: b.resolve("bus.login.ca", r.CA),
	}
	b.readable("bus.login.credentials", out.Credentials)
	b.readable("bus.login.ca", out.CA)
	if out.Password != "" && r.User == "" {
		b.wrong("bus.login", "add user", "a password without a user")
	}
	return out
}

func (b *builder) readable(key, file string) {
	if file == "" {
		return
	}
	if _, err := b.opts.ReadFile(file); err != nil {
		b.wrong(key, fileHint(err), "read %s: %v", file, cause(err))
	}
}

func (b *builder) checkServers(r rawBus) {
	for i, s := range r.Servers {
		u, err := url.Parse(s)
		if err == nil && u.User != nil {
			b.wrong("bus.servers."+strconv.Itoa(i), "use bus.login", "a user or password in a URL would show in logs")
			continue
		}
		if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			// The text stays out of the message: it may hold a password.
			b.wrong("bus.servers."+strconv.Itoa(i), "such as nats://192.0.2.53:4222", "not the URL of a NATS server")
		}
	}
}

func (b *builder) checkListen(r rawBus) {
	if b.spoilt["bus.listen"] {
		return
	}
	if r.Listen == "" {
		if len(r.Users) > 0 {
			b.wrong("bus.users", "set bus.listen, such as 127.0.0.1:4222", "users, but the bus listens nowhere")
		}
		return
	}
	host, port, err := net.SplitHostPort(r.Listen)
	_, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil {
		b.wrong("bus.listen", "such as 127.0.0.1:4222", "%q is no address and port", r.Listen)
		return
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case len(r.Servers) > 0:
		b.wrong("bus.listen", "leave one of them out", "bus.listen is of the bus inside the process, and bus.servers replaces that")
	case !(err == nil && ip.IsLoopback() || host == "localhost") && r.TLS.Cert == "" && !b.spoiltBelow("bus.tls"):
		b.wrong("bus.listen", "set bus.tls, or listen on 127.0.0.1", "%q is not a loopback address, and passwords would cross the network in clear", host)
	case len(r.Users) == 0 && !b.spoiltBelow("bus.users"):
		b.wrong("bus.listen", "add one to bus.users", "bus.listen without a user: nobody could connect")
	}
}

func (b *builder) checkTLS(t BusTLS) {
	if (t.Cert == "") != (t.Key == "") && !b.spoiltBelow("bus.tls") {
		b.wrong(b.set("bus.tls", "cert", "key"), "", "bus.tls needs both cert and key")
	}
	b.readable("bus.tls.cert", t.Cert)
	b.readable("bus.tls.key", t.Key)
}

func (b *builder) user(path, name string, r rawUser) BusUser {
	if slices.Contains(b.opts.BusReserved, name) {
		b.misplaced(path, "choose another name", "%s is a name that steelyard keeps for itself", name)
	}
	return BusUser{
		Name:      name,
		Password:  b.secret(path, "password", true, r.Password, r.PasswordFile, r.PasswordEnv),
		Publish:   b.subjects(join(path, "publish"), r.Publish),
		Subscribe: b.subjects(join(path, "subscribe"), r.Subscribe),
	}
}

// subjects notes what is no subject of NATS.
func (b *builder) subjects(path string, list []string) []string {
	for i, s := range list {
		at := join(path, strconv.Itoa(i))
		if !validSubject(s) {
			b.wrong(at, "words with dots between; * is any one word, > at the end is all that follow", "%q is no subject", s)
		} else if b.opts.BusSubject != nil {
			if err := b.opts.BusSubject(s); err != nil {
				b.wrong(at, "", "%v", err)
			}
		}
	}
	return list
}

func validSubject(s string) bool {
	words := strings.Split(s, ".")
	for i, w := range words {
		if w == "" || strings.ContainsFunc(w, controlOrSpace) {
			return false
		}
		if strings.Contains(w, "*") && w != "*" || strings.Contains(w, ">") && (w != ">" || i < len(words)-1) {
			return false
		}
	}
	return true
}
