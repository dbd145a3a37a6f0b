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

	"github.com/steelyard-lb/steelyard/core"
)

func (b *builder) bus() Bus {
	r := b.raw.Bus
	out := Bus{Listen: r.Listen, Servers: r.Servers, CloudEvents: r.CloudEvents, TLS: BusTLS(b.tlsFiles("bus.tls", r.TLS))}
	for _, name := range slices.Sorted(maps.Keys(r.Users)) {
		out.Users = append(out.Users, b.user(join("bus.users", name), name, r.Users[name]))
	}
	out.Login = b.login(r.Login)
	b.checkListen(r)
	b.checkCertificates(r)
	b.checkServers(r)
	return out
}

// login joins an external cluster.
func (b *builder) login(r rawLogin) BusLogin {
	const path = "bus.login"
	out := BusLogin{
		User: r.User, Password: b.secret(path, "password", r.User != "", r.Password, r.PasswordFile, r.PasswordEnv),
		Credentials: b.resolve("bus.login.credentials", r.Credentials), NKeyFile: b.resolve("bus.login.nkey_file", r.NKeyFile),
		Cert: b.resolve("bus.login.cert", r.Cert), Key: b.resolve("bus.login.key", r.Key), CA: b.resolve("bus.login.ca", r.CA),
	}
	b.readable("bus.login.credentials", out.Credentials)
	b.readable("bus.login.nkey_file", out.NKeyFile)
	b.readable("bus.login.ca", out.CA)
	b.pair(path, out.Cert, out.Key)
	b.checkOneLogin(r)
	if out.Password != "" && r.User == "" {
		b.wrong(path, "add user", "a password without a user")
	}
	return out
}

// checkOneLogin: a client certificate may stand beside the others, which may not
// stand beside one another.
func (b *builder) checkOneLogin(r rawLogin) {
	var used []string
	for _, one := range []struct{ key, value string }{{"user", r.User}, {"credentials", r.Credentials}, {"nkey_file", r.NKeyFile}} {
		if one.value != "" {
			used = append(used, one.key)
		}
	}
	if len(used) > 1 {
		b.misplaced(join("bus.login", used[1]), "keep one of them", "%s and %s are two ways to log in", used[0], used[1])
	}
}

func (b *builder) readable(key, file string) {
	if file == "" {
		return
	}
	if _, err := b.readFor(key, file); err != nil {
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
	host, ok := b.listenHost("bus.listen", r.Listen, "127.0.0.1:4222")
	noTLS, noUsers := !loopback(host) && r.TLS.Cert == "" && !b.spoiltBelow("bus.tls"), len(r.Users) == 0 && !b.spoiltBelow("bus.users")
	switch {
	case !ok:
	case len(r.Servers) > 0:
		b.wrong("bus.listen", "leave one of them out", "bus.listen is of the bus inside the process, and bus.servers replaces that")
	case noTLS && noUsers:
		b.wrong("bus.listen", "set bus.tls and add a user to bus.users",
			"%q is not a loopback address: without TLS passwords would cross the network in clear, and without users nobody could connect", host)
	case noTLS:
		b.wrong("bus.listen", "set bus.tls, or listen on 127.0.0.1", "%q is not a loopback address, and passwords would cross the network in clear", host)
	case noUsers:
		b.wrong("bus.listen", "add one to bus.users", "bus.listen without a user: nobody could connect")
	}
}

// listenHost is the host of an address to listen on; if that is none, it is noted.
func (b *builder) listenHost(key, listen, example string) (host string, ok bool) {
	host, port, err := net.SplitHostPort(listen)
	_, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil {
		b.wrong(key, "such as "+example, "%q is no address and port", listen)
		return "", false
	}
	return host, true
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost"
}

// tlsFiles are the files of a listener, each with its whole path.
func (b *builder) tlsFiles(path string, r rawTLS) rawTLS {
	t := rawTLS{Cert: b.resolve(join(path, "cert"), r.Cert), Key: b.resolve(join(path, "key"), r.Key), CA: b.resolve(join(path, "ca"), r.CA)}
	b.pair(path, t.Cert, t.Key)
	b.readable(join(path, "ca"), t.CA)
	if t.CA != "" && t.Cert == "" && t.Key == "" && !b.spoiltBelow(path) {
		b.wrong(join(path, "ca"), "set cert and key, too", "%s.ca is for the certificates of clients, and without cert there is no TLS", path)
	}
	return t
}

// pair checks that a certificate has its key, and the other way round.
func (b *builder) pair(path, cert, key string) {
	if (cert == "") != (key == "") && !b.spoiltBelow(path) {
		b.wrong(b.set(path, "cert", "key"), "", "%s needs both cert and key", path)
	}
	b.readable(join(path, "cert"), cert)
	b.readable(join(path, "key"), key)
}

// checkCertificates: a name in a certificate means something only if somebody we
// trust has signed it, and if it is the name of one user.
func (b *builder) checkCertificates(r rawBus) {
	proofs := map[string]string{} // NKeys and names in certificates: whose they are
	for _, name := range inOrder(b, "bus.users", r.Users) {
		u, path := r.Users[name], join("bus.users", name)
		if at := join(path, "certificate"); u.Certificate != "" && r.TLS.CA == "" && !b.spoiltBelow("bus.tls") {
			b.wrong(at, "set bus.tls.ca to the authority that signs the certificates of clients", "without bus.tls.ca no certificate would be believed")
		}
		for _, p := range []struct{ key, value string }{{"nkey", u.NKey}, {"certificate", u.Certificate}} {
			if other := proofs[p.value]; other != "" {
				b.wrong(join(path, p.key), "give each user one of its own", "user %s has it already: nobody could tell the two apart", other)
			}
			if p.value != "" {
				proofs[p.value] = name
			}
		}
	}
}

func (b *builder) user(path, name string, r rawUser) BusUser {
	if slices.Contains(b.opts.BusReserved, name) {
		b.misplaced(path, "choose another name", "%s is a name that steelyard keeps for itself", name)
	}
	u := BusUser{
		Name: name, NKey: r.NKey, Certificate: r.Certificate,
		Publish:   b.subjects(join(path, "publish"), r.Publish),
		Subscribe: b.subjects(join(path, "subscribe"), r.Subscribe),
	}
	if b.ways(path, "password", "nkey", "certificate") == 0 && !b.spoiltBelow(path) {
		b.wrong(path, "password, password_file, password_env, nkey or certificate", "nothing says how user %s proves who it is", name)
	}
	u.Password = b.proof(path, "password", r.Password, r.PasswordFile, r.PasswordEnv)
	if at := join(path, "nkey"); b.opts.BusKey != nil && r.NKey != "" && !b.spoilt[at] {
		if err := b.opts.BusKey(r.NKey); err != nil {
			b.wrong(at, "copy it once more, as `nk -inkey FILE -pubout` prints it", "%v", err)
		}
	}
	if at := join(path, "certificate"); b.written(at) && r.Certificate == "" {
		b.wrong(at, "write the name in the certificate", "the name is empty")
	}
	return u
}

// proof is a secret that may be absent, but not empty.
func (b *builder) proof(path, name string, text core.Secret, file, env string) core.Secret {
	return b.secret(path, name, b.written(b.set(path, name, name+"_file", name+"_env")), text, file, env)
}

// ways is how many of several ways to write one thing were used; a second one is
// noted. The first of them may also end in _file and _env: of these secret takes care.
func (b *builder) ways(path, first string, others ...string) int {
	var used []string
	for _, n := range []string{first, first + "_file", first + "_env"} {
		if b.written(join(path, n)) && len(used) == 0 {
			used = append(used, n)
		}
	}
	for _, n := range others {
		if b.written(join(path, n)) {
			used = append(used, n)
		}
	}
	if len(used) > 1 {
		b.misplaced(join(path, used[1]), "keep one of them", "%s and %s are two ways to say who it is", used[0], used[1])
	}
	return len(used)
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
