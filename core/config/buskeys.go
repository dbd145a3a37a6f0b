// SPDX-License-Identifier: Apache-2.0

package config

import "regexp"

// An NKey is 32 bytes of a public key with a byte before and two after it, in base32.
var nkeyPattern = regexp.MustCompile(`^U[A-Z2-7]{55}$`)

const exampleNKey = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"

var busKey = key{name: "bus", kind: kObject, doc: "the event bus; without these keys it lives inside the process and listens nowhere", keys: []key{
	{name: "listen", kind: kText, def: `""`, doc: "address and port for NATS clients, such as 127.0.0.1:4222; empty: none"},
	{name: "servers", kind: kList, def: "[]", elem: &key{kind: kText},
		doc: "an external NATS cluster instead of the one inside, such as nats://192.0.2.53:4222"},
	{name: "users", kind: kMap, apart: true, doc: "who may use bus.listen", elem: &key{name: "zabbix", kind: kObject, keys: []key{
		{name: "password", kind: kSecret, doc: "the password; give this one, or one of the next four"},
		{name: "password_file", kind: kText, file: true, either: "password", example: "./zabbix.password", doc: "file that holds the password"},
		{name: "password_env", kind: kText, either: "password", example: "ZABBIX_PASSWORD", doc: "environment variable that holds the password"},
		{name: "nkey", kind: kText, either: "password", pattern: nkeyPattern, example: exampleNKey,
			hint: "U and 55 of A-Z and 2-7, as `nk -gen user -pubout` prints it; the seed, which begins with SU, stays with the user",
			doc:  "public NKey of a user who has none of these passwords, but the seed"},
		{name: "certificate", kind: kText, either: "password", example: "zabbix.example.org",
			doc: "name in the certificate of a client that shows one signed by bus.tls.ca"},
		{name: "publish", kind: kList, dynamic: "metric.NAME.>", example: `[metric.zabbix.>]`, elem: &key{kind: kText},
			doc: "subjects the user may publish on, without steelyard.v1 in front"},
		{name: "subscribe", kind: kList, dynamic: "everything", example: `[">"]`, elem: &key{kind: kText},
			doc: "subjects the user may subscribe to"},
	}}},
	{name: "login", kind: kObject, apart: true, doc: "how to join bus.servers", keys: []key{
		{name: "user", kind: kText, def: `""`, doc: "the user; empty: none"},
		{name: "password", kind: kSecret, doc: "the password; give this one, or one of the next two"},
		{name: "password_file", kind: kText, file: true, either: "password", example: "./nats.password", doc: "file that holds the password"},
		{name: "password_env", kind: kText, either: "password", example: "NATS_PASSWORD", doc: "environment variable that holds the password"},
		{name: "credentials", kind: kText, def: `""`, file: true, doc: "a .creds file, in place of user and password"},
		{name: "nkey_file", kind: kText, def: `""`, file: true, doc: "file that holds the seed of an NKey, in place of user and password"},
		{name: "cert", kind: kText, def: `""`, file: true, doc: "certificate of this client, PEM"},
		{name: "key", kind: kText, def: `""`, file: true, doc: "its private key, PEM"},
		{name: "ca", kind: kText, def: `""`, file: true, doc: "authorities to trust, PEM; empty means the system's"},
	}},
	{name: "tls", kind: kObject, doc: "needed when bus.listen is not a loopback address", keys: []key{
		{name: "cert", kind: kText, def: `""`, file: true, doc: "certificate chain, PEM"},
		{name: "key", kind: kText, def: `""`, file: true, doc: "private key, PEM"},
		{name: "ca", kind: kText, def: `""`, file: true, doc: "authorities that sign the certificates of clients, PEM; users with a certificate need it"},
	}},
	{name: "cloudevents", kind: kBool, def: "false", doc: "publish with the headers of CloudEvents"},
}}
