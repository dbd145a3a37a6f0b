// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core/config"
)

// A key says who logs in; the name beside it is that of the inbox. Both go with the
// servers of the configuration.
func TestStoreLogins(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{Node: "lb1", Bus: config.Bus{
		Servers: []string{"nats://192.0.2.53:4222"},
		Login:   config.BusLogin{User: "lb1", Password: "x", CA: "ca.pem"},
	}}
	for _, tt := range []struct {
		name             string
		flags            natsFlags
		node, user, nkey string
	}{
		{"of the configuration", natsFlags{}, "lb1", "lb1", ""},
		{"password", natsFlags{user: "deploy", passwordFile: secret}, "deploy", "deploy", ""},
		{"key", natsFlags{user: "deploy", nkey: "deploy.nk"}, "deploy", "", "deploy.nk"},
		{"elsewhere", natsFlags{servers: []string{"nats://a"}, user: "deploy", nkey: "deploy.nk"}, "deploy", "", "deploy.nk"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := storeFlags{natsFlags: tt.flags}
			o, err := f.options(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if o.Node != tt.node || o.Login.User != tt.user || o.Login.NKey.Reveal() != tt.nkey {
				t.Errorf("node %q, user %q, nkey %q", o.Node, o.Login.User, o.Login.NKey.Reveal())
			}
			if want := strings.Join(cfg.Bus.Servers, ","); tt.flags.servers == nil && strings.Join(o.Servers, ",") != want {
				t.Errorf("servers %v, want %s", o.Servers, want)
			}
			if tt.flags.servers == nil && o.Login.CA != "ca.pem" {
				t.Errorf("authority %q, want that of the configuration", o.Login.CA)
			}
		})
	}
}
