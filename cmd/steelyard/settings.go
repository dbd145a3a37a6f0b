// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core/config"
)

// settings are the parts of a configuration that take a restart, as text without
// secrets.
func settings(cfg *config.Config) map[string]string {
	out := map[string]string{
		"node": cfg.Node, "state_dir": cfg.StateDir,
		"control.socket": cfg.Control.Socket, "control.group": cfg.Control.Group,
		"probing.concurrency": places(cfg.Probing.Concurrency),
		"log.level":           cfg.Log.Level, "log.format": cfg.Log.Format,
	}
	maps.Copy(out, busSettings(cfg.Bus))
	maps.Copy(out, clusterSettings(cfg))
	maps.Copy(out, outsideSettings(cfg))
	return out
}

func busSettings(c config.Bus) map[string]string {
	users := make([]string, len(c.Users))
	for i, u := range c.Users {
		users[i] = fmt.Sprintf("%s (%s, publish %v, subscribe %v)", u.Name, proof(u), u.Publish, u.Subscribe)
	}
	l := c.Login
	return map[string]string{
		"bus.listen": c.Listen, "bus.servers": strings.Join(c.Servers, " "), "bus.users": strings.Join(users, ", "),
		"bus.tls.cert": c.TLS.Cert, "bus.tls.key": c.TLS.Key, "bus.tls.ca": c.TLS.CA,
		"bus.login.user": l.User, "bus.login.credentials": l.Credentials, "bus.login.ca": l.CA,
		"bus.login.nkey_file": l.NKeyFile, "bus.login.cert": l.Cert, "bus.login.key": l.Key,
		"bus.cloudevents": set(c.CloudEvents),
	}
}

// set is the text of a switch; empty, as what is not there, while it is off.
func set(on bool) string {
	if on {
		return "on"
	}
	return ""
}

// proof is how a user of the bus says who it is.
func proof(u config.BusUser) string {
	switch {
	case u.NKey != "":
		return "nkey " + u.NKey
	case u.Certificate != "":
		return "certificate " + u.Certificate
	}
	return "password"
}

func clusterSettings(cfg *config.Config) map[string]string {
	c := cfg.Cluster
	if c.Alone() {
		return nil
	}
	return map[string]string{
		"roles": c.Roles.String(), "cluster.group": c.Group,
		"cluster.probers": strconv.Itoa(c.Probers), "cluster.quorum": strconv.Itoa(c.Quorum),
		"cluster.scheduling": string(c.Scheduling), "cluster.definitions": cfg.Definitions,
	}
}

// outsideSettings are those of what speaks HTTP.
func outsideSettings(cfg *config.Config) map[string]string {
	out := map[string]string{}
	if h := cfg.HTTP; h.Listen != "" {
		users := make([]string, len(h.Users))
		for i, u := range h.Users {
			users[i] = fmt.Sprintf("%s (%s)", u.Name, strings.Join(u.Rights, ", "))
		}
		out["http.listen"], out["http.users"] = h.Listen, strings.Join(users, ", ")
		out["http.tls.cert"], out["http.tls.key"], out["http.tls.ca"] = h.TLS.Cert, h.TLS.Key, h.TLS.CA
		out["http.max_series"] = strconv.Itoa(h.MaxSeries)
	}
	for _, w := range cfg.Webhooks {
		out["webhooks."+w.Name] = fmt.Sprintf("%s, events %v", w.Host, w.Events)
	}
	return out
}

// places is how many runs of each type may go on at one time, as text to compare.
func places(of map[string]int) string {
	var list []string
	for _, kind := range slices.Sorted(maps.Keys(of)) {
		list = append(list, fmt.Sprintf("%s %d", kind, of[kind]))
	}
	return strings.Join(list, ", ")
}
