// SPDX-License-Identifier: Apache-2.0

package config

// keepalived calls its probes checkers, HAProxy health checks, blackbox_exporter
// modules. Their words lead to the keys of a probe here.

const (
	jitterIsIt   = "jitter: 0.1; the first run is at a random time anyway"
	statusIsIt   = "status: [200]"
	dynamicIsIt  = "type: exec, convention: keepalived and dynamic_weight: true"
	noResolving  = "leave it out, for a backend is an address and no name is resolved"
	ownAddress   = "leave it out, for a probe asks the address of the backend"
	noProxy      = "leave it out, for no probe speaks the PROXY protocol"
	besideType   = ", and its keys beside that"
	inTheService = " in the service"
	tlsFiles     = "tls: {ca_file: ./ca.pem, cert_file: ./client.pem, key_file: ./client.key}"
	redisIsIt    = `type: tcp, send: "PING\r\n" and expect: '^\+PONG'`
	scriptIsIt   = `script: [{expect: "^220 "}, {send: "QUIT\r\n"}]`
)

// foreignProbe are words of a probe.
var foreignProbe = map[string]meant{
	// keepalived
	"delay_loop": {"", "interval: 5s"}, "connect_timeout": {"", "timeout: 2s"}, "misc_timeout": {"", "timeout: 5s"}, "connect_port": {"", "port: 80"}, "connect_ip": {"", ownAddress},
	"retry": {"", "fall: 3, one more than the retries"}, "retries": {"", "fall: 3, one more than the retries"}, "nb_get_retry": {"", "fall: 3, one more than the retries"}, "delay_before_retry": {"", "fast_interval: 1s"},
	"warmup": {"", jitterIsIt}, "alpha": {"", "health: {start: down}" + inTheService}, "fast_recovery": {"", "rise: 1"},
	"url": {"", "path: /health"}, "uri": {"", "path: /health"}, "status_code": {"", statusIsIt}, "virtualhost": {"", "host: www.example.org"}, "vhost": {"", "host: www.example.org"},
	"regex": {"", "expect: up"}, "regex_no_match": {"", "reject: error"}, "http_protocol": {"", "http2: true"}, "enable_sni": {"", "tls: {server_name: www.example.org}"},
	"misc_path": {"command", "command: [/usr/local/bin/check, \"{address}\"]"}, "misc_dynamic": {"", dynamicIsIt}, "helo_name": {"", scriptIsIt},
	"bindto": {"", "source: 192.0.2.1"}, "bind_if": {"", "device: eth0"}, "bind_port": {"", "source: 192.0.2.1"}, "fwmark": {"", "mark: 16"},
	"min_reply_length": {"", "need_reply: true"}, "require_reply": {"", "need_reply: true, or reply_hex: 0a1bxx2c"}, "reply": {"", "reply_hex: 0a1bxx2c"}, "quorum": {"", "health: {need: 2}" + inTheService},
	// HAProxy
	"inter": {"", "interval: 5s"}, "fastinter": {"", "fast_interval: 1s"}, "downinter": {"", "down_interval: 30s"}, "spread_checks": {"", "jitter: 0.1"},
	"agent_check": {"", "type: agent and port: 9777"}, "agent_port": {"port", "port: 9777, with type: agent"}, "agent_send": {"", `send: "status\n"`}, "agent_inter": {"", "interval: 5s"}, "agent_addr": {"", ownAddress},
	"httpchk": {"", "type: http and path: /health"}, "http_check": {"", "type: http and path: /health"}, "tcp_check": {"", scriptIsIt},
	"ssl_hello_chk": {"", "tls: true"}, "check_ssl": {"", "tls: true"}, "ssl": {"", "tls: true"}, "check_sni": {"", "tls: {server_name: www.example.org}"}, "sni": {"", "tls: {server_name: www.example.org}"},
	"crt": {"", tlsFiles}, "verify": {"", "tls: {insecure: true}"}, "check_alpn": {"", "http2: true"}, "alpn": {"", "http2: true"}, "check_send_proxy": {"", noProxy}, "send_proxy": {"", noProxy},
	"connect": {"", "leave it out, for a tcp probe connects anyway"}, "external_check_command": {"command", "command: [/usr/local/bin/check, \"{address}\"]"},
	"observe": {"", "passive: {unanswered: 5, resets: 5}" + inTheService}, "error_limit": {"", "passive: {unanswered: 5, resets: 5}" + inTheService}, "init_state": {"", "health: {start: unknown}" + inTheService},
	"track": {"", "probes: [alive] in both services; one target is asked once for all of them"}, "rstring": {"", "expect: up"}, "string": {"", "expect: up"}, "hdr": {"", "headers: {X-Probe: x}"}, "ver": {"", "http2: true"}, "meth": {"", "method: GET"},
	// blackbox_exporter
	"prober": {"type", "type: http"}, "module": {"type", "type: http"}, "target": {"", ownAddress}, "query_response": {"", scriptIsIt},
	"http": {"", "type: http" + besideType}, "tcp": {"", "type: tcp" + besideType}, "icmp": {"", "type: ping" + besideType}, "dns": {"", "type: dns" + besideType}, "grpc": {"", "type: grpc" + besideType},
	"valid_status_codes": {"", statusIsIt}, "valid_http_versions": {"", "http2: true"}, "fail_if_body_matches_regexp": {"", "reject: error"}, "fail_if_body_not_matches_regexp": {"", "expect: up"},
	"fail_if_body_json_matches_cel": {"", `json: {status: "!= down"}`}, "fail_if_body_json_not_matches_cel": {"", "json: {status: ok}"},
	"fail_if_ssl": {"", "tls: true, or leave it out"}, "fail_if_not_ssl": {"", "tls: true"}, "preferred_ip_protocol": {"", noResolving}, "ip_protocol_fallback": {"", noResolving},
	"tls_config": {"", tlsFiles}, "ca": {"", tlsFiles}, "cert": {"", tlsFiles}, "key": {"", tlsFiles}, "ca_file": {"", tlsFiles}, "cert_file": {"", tlsFiles}, "key_file": {"", tlsFiles}, "server_name": {"", tlsFiles}, "insecure_skip_verify": {"", "tls: {insecure: true}"},
	"query_name": {"", "name: www.example.org"}, "query_type": {"", "record: A"}, "transport_protocol": {"", "over: tcp"}, "recursion_desired": {"", "recurse: false"}, "valid_rcodes": {"", "rcodes: [NOERROR]"},
	"validate_answer_rrs": {"", "expect: 192.0.2.10"}, "payload_size": {"", "size: 56"}, "packet_count": {"", "count: 3"}, "source_ip_address": {"", "source: 192.0.2.1"}, "body_size_limit": {"", "max_body: 65536"},
	"authorization": {"", "headers: {Authorization: …}"}, "basic_auth": {"", "headers: {Authorization: …}"}, "bearer_token": {"", "headers: {Authorization: …}"}, "no_follow_redirects": {"", "status: [200]; no redirect is followed"}, "follow_redirects": {"", "status: [200]; no redirect is followed"},
	"status_codes": {"", statusIsIt}, "plugin": {"command", "command: [/usr/lib/nagios/plugins/check_tcp, -H, \"{address}\"]"}, "metric": {"metrics", "metrics: {load: {oid: 1.3.6.1.4.1.2021.10.1.3.1}}"}, "oids": {"metrics", "metrics: {load: {oid: 1.3.6.1.4.1.2021.10.1.3.1}}"}, "walk": {"metrics", "metrics: {load: {oid: 1.3.6.1.4.1.2021.10.1.3.1}}"},
	"cpu_oid": {"", "cpu_source: oid and oid: 1.3.6.1.4.1.2021.11.11.0"}, "vrf": {"", "device: vrf-blue"}, "interface": {"", "device: eth0"}, "namespace": {"", "netns: blue"}, "fast": {"", "fast_interval: 1s"},
}

// foreignProbeType are their words for the types of probe.
var foreignProbeType = map[string]string{
	"https": "type: http and tls: true", "ssl_get": "type: http and tls: true", "http_get": "http", "httpchk": "http", "http_2xx": "http", "http_post_2xx": "http",
	"tcp_check": "tcp", "tcp_connect": "tcp", "connect": "tcp", "ssl": "type: tcp and tls: true", "tls": "type: tcp and tls: true", "tcp_connect_tls": "type: tcp and tls: true",
	"smtp": `type: tcp and expect: "^220 "`, "smtp_check": `type: tcp and expect: "^220 "`, "ssh_banner": `type: tcp and expect: "^SSH-"`, "pop3s_banner": `type: tcp, tls: true and expect: '^\+OK'`,
	"smtpchk": `type: tcp and expect: "^220 "`, "redis": redisIsIt, "redis_check": redisIsIt, "ssl_hello_chk": "type: tcp and tls: true",
	"icmp": "ping", "ping_check": "ping", "dns_check": "dns", "dns_udp": "dns", "dns_tcp": "type: dns and over: tcp", "udp_check": "udp", "grpc_plain": "grpc",
	"misc_check": "type: exec and convention: keepalived", "misc": "type: exec and convention: keepalived", "script": "exec", "command": "exec", "nagios": "exec", "external_check": "exec", "file_check": "exec",
	"agent_check": "agent", "latency": "response_time", "snmpcpu": "snmp_cpu", "cpu": "snmp_cpu", "node_exporter": "prometheus", "metrics": "prometheus",
	"pgsql_check": `type: exec and command: [/usr/lib/nagios/plugins/check_pgsql]`, "ldap_check": `type: exec and command: [/usr/lib/nagios/plugins/check_ldap]`,
	"bfd_check": "ping", "mysql_check": `type: exec and command: [/usr/lib/nagios/plugins/check_mysql]`,
}

var foreignCPUSource = map[string]string{
	"ucd_raw": "ucd", "ucdavis": "ucd", "net_snmp": "ucd", "sscpuraw": "ucd", "hr": "host", "host_resources": "host", "hrprocessorload": "host", "windows": "host", "cpmcpu": "cisco",
}

var foreignDays = map[string]string{
	"sunday": "sun", "monday": "mon", "tuesday": "tue", "wednesday": "wed", "thursday": "thu", "friday": "fri", "saturday": "sat",
}

// foreignHealth, foreignPassive and foreignMaintenance are words of their maps.
var foreignHealth = map[string]meant{
	"quorum": {"", "need: 2"}, "at_least": {"", "need: 2"}, "mode": {"", "need: any"}, "require": {"", "need: any"}, "init_state": {"", "start: unknown"}, "initial": {"", "start: unknown"}, "alpha": {"", "start: down"},
	"rise": {"", "rise: 2 in a probe"}, "fall": {"", "fall: 3 in a probe"}, "flapping": {"", "flap_limit: 5"}, "probes": {"", "probes: [alive] beside health"},
}

var foreignPassive = map[string]meant{
	"error_limit": {"", "unanswered: 5"}, "consecutive_5xx": {"", "resets: 5"}, "consecutive_errors": {"", "resets: 5"}, "consecutive_gateway_failure": {"", "resets: 5"}, "consecutive_local_origin_failure": {"", "unanswered: 5"},
	"base_ejection_time": {"", "eject: 30s"}, "max_ejection_time": {"", "max: 5m"}, "max_ejection_percent": {"", "max_ratio: 0.1"}, "max_fails": {"", "unanswered: 5"}, "fail_timeout": {"", "eject: 30s"}, "timeouts": {"", "unanswered: 5"}, "rst": {"", "resets: 5"},
}

var foreignMaintenance = map[string]meant{
	"targets": {"backends", "backends: [web/web1]"}, "servers": {"backends", "backends: [web/web1]"}, "services": {"backends", `backends: ["web/*"]`}, "comment": {"", "reason: kernel update"},
	"begin": {"", "start: 2027-03-01T22:00:00+01:00"}, "starts_at": {"", "start: 2027-03-01T22:00:00+01:00"}, "ends_at": {"", "end: 2027-03-02T02:00:00+01:00"}, "until": {"", "end: 2027-03-02T02:00:00+01:00"},
	"duration": {"", "end: 2027-03-02T02:00:00+01:00"}, "weekdays": {"", "days: [sat, sun]"}, "timezone": {"", "zone: Europe/Berlin"}, "tz": {"", "zone: Europe/Berlin"}, "location": {"", "zone: Europe/Berlin"}, "times": {"", `from: "02:00"`},
}
