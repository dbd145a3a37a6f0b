// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
)

// TestPushedFiles: who may push does not get at what is in the files and the environment of
// a node, but for the secrets that are there for what is pushed.
func TestPushedFiles(t *testing.T) {
	const login = "bus: {servers: ['nats://192.0.2.53:4222'], login: {user: lb, password_file: pw}}\n"
	own := strings.Replace(following, servers, login, 1)
	snmp := func(what string) string { return "probes: {p: {type: snmp_cpu, " + what + "}}" }
	disk := files{
		"/etc/pw": "hunter2\n", "/etc/community": "public\n", "/etc/snmp/v3": "public12\n", "/etc/old.bak": "a: 1\nb: hunter2\n",
		"/root/key": "hunter2\n", "/root/list": "hunter2\n", "/var/7/files/aa": "function schedule(s) end\n", "/var/7/evil.lua": "hunter2 = 1\n",
	}
	for _, tt := range []struct {
		name, own, pushed string
		want              string // empty: it is taken
	}{
		{"a file for it", own, snmp("community_file: /etc/community"), ""},
		{"one further below", own, snmp("version: '3', user: lb, auth: {password_file: /etc/snmp/v3}"), ""},
		{"the password of the login", own, snmp("community_file: /etc/pw"), "/etc/pw is for this node alone"},
		{"the same, in other words", own, snmp("community_file: /etc/snmp/..//pw"), "/etc/pw is for this node alone"},
		{"the file of the node", own, snmp("community_file: /etc/s.yaml"), "/etc/s.yaml is for this node alone"},
		{"one elsewhere", own, snmp("community_file: /root/key"), "/root/key is not below /etc"},
		{"one elsewhere, for version 3", own, snmp("version: '3', user: lb, auth: {password_file: /root/key}"), "/root/key is not below /etc"},
		{"one elsewhere, by way of here", own, snmp("community_file: /etc/../root/key"), "/root/key is not below /etc"},
		{"one elsewhere, which the node names itself", own + snmp("community_file: /root/key") + "\n", snmp("interval: 7s"), ""},
		{"more than a secret", own, snmp("community_file: /etc/old.bak"), "/etc/old.bak has more than one line"},
		{"a variable for it", own, snmp("community_env: SNMP"), ""},
		{"one that sets a key", own, snmp("community_env: STEELYARD_BUS__LOGIN__PASSWORD"), "STEELYARD_BUS__LOGIN__PASSWORD is for this node alone"},
		{"one of the login", strings.Replace(own, "password_file: pw", "password_env: NATS", 1), snmp("community_env: NATS"), "NATS is for this node alone"},
		{"a list of what is no address", own, strings.Replace(web, "backends:", "deny_file: /root/list\n    backends:", 1), "/root/list:1:1: this is no address and no prefix"},
		{"a policy that came along", own, "policies: {mine: {path: ./files/aa}}", ""},
		{"a policy of this disk", own, "policies: {mine: {path: /root/key}}", "/root/key did not come with the definitions"},
		{"a policy beside them", own, "policies: {mine: {path: ./files/../evil.lua}}", "/var/7/evil.lua did not come with the definitions"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk["/etc/s.yaml"], disk["/var/7/l.yaml"] = tt.own, tt.pushed
			o := elsewhere(disk)
			o.Layers, o.Env = []string{"/var/7/l.yaml"}, []string{"SNMP=public", "NATS=hunter2", "STEELYARD_BUS__LOGIN__PASSWORD=hunter2"}
			if strings.Contains(tt.own, "password_file") && !strings.Contains(tt.pushed, "STEELYARD") {
				o.Env = o.Env[:2]
			}
			_, err := Load(o)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, want %q in it", err, tt.want)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Errorf("%v: it tells what is in the file", err)
			}
		})
	}
}
