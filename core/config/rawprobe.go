// SPDX-License-Identifier: Apache-2.0

package config

import (
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

type (
	// A rawProbe has the keys of every type of probe.
	rawProbe struct {
		Type         string        `key:"type"`
		Role         string        `key:"role"`
		Interval     time.Duration `key:"interval"`
		FastInterval time.Duration `key:"fast_interval"`
		DownInterval time.Duration `key:"down_interval"`
		Timeout      time.Duration `key:"timeout"`
		Jitter       float64       `key:"jitter"`
		Port         uint16        `key:"port"`
		Rise         int           `key:"rise"`
		Fall         int           `key:"fall"`
		Source       string        `key:"source"`
		Device       string        `key:"device"`
		Mark         uint32        `key:"mark"`
		Netns        string        `key:"netns"`

		Send    string               `key:"send"`
		SendHex string               `key:"send_hex"`
		Expect  string               `key:"expect"`
		Script  []rawStep            `key:"script"`
		TLS     rawProbeTLS          `key:"tls"`
		Host    string               `key:"host"`
		Metrics map[string]rawMetric `key:"metrics"`

		Path     string                 `key:"path"`
		Method   string                 `key:"method"`
		Headers  map[string]core.Secret `key:"headers"`
		HTTP2    bool                   `key:"http2"`
		Body     string                 `key:"body"`
		Status   []string               `key:"status"`
		Reject   string                 `key:"reject"`
		JSON     map[string]string      `key:"json"`
		Digest   string                 `key:"digest"`
		MaxBody  int                    `key:"max_body"`
		Insecure bool                   `key:"insecure"`
		Samples  int                    `key:"samples"`

		Count int `key:"count"`
		Size  int `key:"size"`

		Name    string   `key:"name"`
		Record  string   `key:"record"`
		Over    string   `key:"over"`
		Recurse bool     `key:"recurse"`
		RCodes  []string `key:"rcodes"`
		Answers int      `key:"answers"`

		Service  string                 `key:"service"`
		Metadata map[string]core.Secret `key:"metadata"`

		Payload    string `key:"payload"`
		PayloadHex string `key:"payload_hex"`
		ReplyHex   string `key:"reply_hex"`
		NeedReply  bool   `key:"need_reply"`

		rawExec
		rawSNMP
	}
	rawExec struct {
		Command       []string               `key:"command"`
		Env           map[string]core.Secret `key:"env"`
		Convention    string                 `key:"convention"`
		Warning       string                 `key:"warning"`
		DynamicWeight bool                   `key:"dynamic_weight"`
	}
	rawSNMP struct {
		Version       string      `key:"version"`
		Community     core.Secret `key:"community"`
		CommunityFile string      `key:"community_file"`
		CommunityEnv  string      `key:"community_env"`
		User          string      `key:"user"` // of exec, too
		Context       string      `key:"context"`
		Auth          rawKey      `key:"auth"`
		Priv          rawKey      `key:"priv"`

		CPUSource    string        `key:"cpu_source"`
		OID          string        `key:"oid"`
		Scale        float64       `key:"scale"`
		Idle         bool          `key:"idle"`
		Window       time.Duration `key:"window"`
		ExcludeSteal bool          `key:"exclude_steal"`
		IncludeWait  bool          `key:"include_wait"`
	}
	rawKey struct {
		Protocol string `key:"protocol"`
		rawPassword
	}
	rawStep struct {
		Send     string `key:"send"`
		SendHex  string `key:"send_hex"`
		Expect   string `key:"expect"`
		StartTLS bool   `key:"starttls"`
	}
	rawProbeTLS struct {
		Enabled    bool   `key:"enabled"`
		Insecure   bool   `key:"insecure"`
		ServerName string `key:"server_name"`
		CAFile     string `key:"ca_file"`
		CertFile   string `key:"cert_file"`
		KeyFile    string `key:"key_file"`
	}
	rawMetric struct {
		OID        string  `key:"oid"`
		Series     string  `key:"series"`
		Path       string  `key:"path"`
		Label      string  `key:"label"`
		Kind       string  `key:"kind"`
		Unit       string  `key:"unit"`
		Scale      float64 `key:"scale"`
		Aggregate  string  `key:"aggregate"`
		Complement bool    `key:"complement"`
	}
)
