// SPDX-License-Identifier: Apache-2.0

package config

import (
	"time"

	"github.com/go-viper/mapstructure/v2"

	"github.com/steelyard-lb/steelyard/core"
)

// The raw types are the merged tree with Go types, before anything is parsed
// further or compared. A test holds them against the table.
type (
	raw struct {
		Node     string                `koanf:"node"`
		StateDir string                `koanf:"state_dir"`
		Control  rawControl            `koanf:"control"`
		Log      rawLog                `koanf:"log"`
		Bus      rawBus                `koanf:"bus"`
		Policies map[string]rawPolicy  `koanf:"policies"`
		Probes   map[string]rawProbe   `koanf:"probes"`
		Services map[string]rawService `koanf:"services"`
	}
	rawControl struct {
		Socket string `koanf:"socket"`
		Group  string `koanf:"group"`
	}
	rawLog struct {
		Level  string `koanf:"level"`
		Format string `koanf:"format"`
	}
	rawBus struct {
		Listen  string             `koanf:"listen"`
		Servers []string           `koanf:"servers"`
		Users   map[string]rawUser `koanf:"users"`
		Login   rawLogin           `koanf:"login"`
		TLS     rawTLS             `koanf:"tls"`
	}
	rawLogin struct {
		User        string `koanf:"user"`
		rawPassword `koanf:",squash"`
		Credentials string `koanf:"credentials"`
		CA          string `koanf:"ca"`
	}
	rawUser struct {
		rawPassword `koanf:",squash"`
		Publish     []string `koanf:"publish"`
		Subscribe   []string `koanf:"subscribe"`
	}
	rawPassword struct {
		Password     core.Secret `koanf:"password"`
		PasswordFile string      `koanf:"password_file"`
		PasswordEnv  string      `koanf:"password_env"`
	}
	rawTLS struct {
		Cert string `koanf:"cert"`
		Key  string `koanf:"key"`
	}
	rawPolicy struct {
		Path   string `koanf:"path"`
		SHA256 string `koanf:"sha256"`
	}
	rawProbe struct {
		Type     string        `koanf:"type"`
		Role     string        `koanf:"role"`
		Interval time.Duration `koanf:"interval"`
		Timeout  time.Duration `koanf:"timeout"`
		Jitter   float64       `koanf:"jitter"`
		Port     uint16        `koanf:"port"`
		Rise     int           `koanf:"rise"`
		Fall     int           `koanf:"fall"`

		Path     string   `koanf:"path"`
		Method   string   `koanf:"method"`
		Host     string   `koanf:"host"`
		Status   []string `koanf:"status"`
		TLS      bool     `koanf:"tls"`
		Insecure bool     `koanf:"insecure"`

		Count int `koanf:"count"`
		Size  int `koanf:"size"`

		Version       string        `koanf:"version"`
		Community     core.Secret   `koanf:"community"`
		CommunityFile string        `koanf:"community_file"`
		CommunityEnv  string        `koanf:"community_env"`
		User          string        `koanf:"user"`
		Context       string        `koanf:"context"`
		Auth          rawKey        `koanf:"auth"`
		Priv          rawKey        `koanf:"priv"`
		Window        time.Duration `koanf:"window"`
		ExcludeSteal  bool          `koanf:"exclude_steal"`
		IncludeWait   bool          `koanf:"include_wait"`
	}
	rawKey struct {
		Protocol    string `koanf:"protocol"`
		rawPassword `koanf:",squash"`
	}
	rawService struct {
		VIP        string                `koanf:"vip"`
		Port       uint16                `koanf:"port"`
		Protocol   string                `koanf:"protocol"`
		Forwarding string                `koanf:"forwarding"`
		OnEmpty    string                `koanf:"on_empty"`
		Policy     string                `koanf:"policy"`
		Params     map[string]float64    `koanf:"params"`
		Every      time.Duration         `koanf:"every"`
		Probes     []string              `koanf:"probes"`
		Shaping    rawShaping            `koanf:"shaping"`
		Backends   map[string]rawBackend `koanf:"backends"`
	}
	rawShaping struct {
		StaleAfter   time.Duration `koanf:"stale_after"`
		Hold         time.Duration `koanf:"hold"`
		SlowStart    time.Duration `koanf:"slow_start"`
		SlowStartMin float64       `koanf:"slow_start_min"`
		Floor        float64       `koanf:"floor"`
		Ceiling      float64       `koanf:"ceiling"`
		Step         float64       `koanf:"step"`
		DeadBand     float64       `koanf:"dead_band"`
		Panic        float64       `koanf:"panic"`
	}
	rawBackend struct {
		Address string `koanf:"address"`
		Port    uint16 `koanf:"port"`
		Weight  uint32 `koanf:"weight"`
	}
)

// decode gives the tree its types. It fails only if the table and the raw types
// disagree. It is what koanf.Unmarshal does, less a merge of the whole tree.
func decode(tree map[string]any) (raw, error) {
	var r raw
	d, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result: &r, TagName: "koanf", ErrorUnused: true,
		DecodeHook: mapstructure.StringToTimeDurationHookFunc(),
	})
	if err != nil {
		return r, err
	}
	return r, d.Decode(tree)
}
