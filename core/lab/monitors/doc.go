// SPDX-License-Identifier: Apache-2.0

// Package monitors runs the recipes of examples/07-monitors: Prometheus with
// Alertmanager, Nagios, Zabbix's scripts, Telegraf's messages, the nats command and a
// shell without any client, each of which tells a real steelyard about a backend.
package monitors
