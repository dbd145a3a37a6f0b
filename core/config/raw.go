// SPDX-License-Identifier: Apache-2.0

package config

import "time"

// The raw types are the merged tree with Go types, before anything is parsed
// further or compared. A test holds them against the table.
type (
	raw struct {
		Node        string                    `key:"node"`
		StateDir    string                    `key:"state_dir"`
		Roles       []string                  `key:"roles"`
		Cluster     rawCluster                `key:"cluster"`
		Control     rawControl                `key:"control"`
		Log         rawLog                    `key:"log"`
		Kernel      rawKernel                 `key:"kernel"`
		Bus         rawBus                    `key:"bus"`
		HTTP        rawHTTP                   `key:"http"`
		Webhooks    map[string]rawWebhook     `key:"webhooks"`
		Policies    map[string]rawPolicy      `key:"policies"`
		Probes      map[string]rawProbe       `key:"probes"`
		Probing     rawProbing                `key:"probing"`
		Maintenance map[string]rawMaintenance `key:"maintenance"`
		Services    map[string]*rawService    `key:"services"`
	}
	rawControl struct {
		Socket string `key:"socket"`
		Group  string `key:"group"`
	}
	rawLog struct {
		Level  string `key:"level"`
		Format string `key:"format"`
	}
	rawPolicy struct {
		Path   string `key:"path"`
		Lua    string `key:"lua"`
		SHA256 string `key:"sha256"`
	}
	rawKernel struct {
		LocalClients   bool     `key:"local_clients"`
		HashSeed       uint32   `key:"hash_seed"`
		OffloadDevices []string `key:"offload_devices"`
	}
	rawService struct {
		VIP           []string               `key:"vip"`
		Port          []string               `key:"port"`
		Protocol      []string               `key:"protocol"`
		Distribution  string                 `key:"distribution"`
		Hash          string                 `key:"hash"`
		Forwarding    string                 `key:"forwarding"`
		Source        []string               `key:"source"`
		Hairpin       bool                   `key:"hairpin"`
		MasqueradeFor []string               `key:"masquerade_for"`
		Interfaces    []string               `key:"interfaces"`
		FlowTimeout   time.Duration          `key:"flow_timeout"`
		OnEmpty       string                 `key:"on_empty"`
		OnDown        string                 `key:"on_down"`
		MinUp         int                    `key:"min_up"`
		Sorry         rawSorry               `key:"sorry"`
		Persistence   rawPersistence         `key:"persistence"`
		Pins          map[string]string      `key:"pins"`
		Allow         []string               `key:"allow"`
		AllowFile     string                 `key:"allow_file"`
		Deny          []string               `key:"deny"`
		DenyFile      string                 `key:"deny_file"`
		Limits        rawLimits              `key:"limits"`
		Log           rawServiceLog          `key:"log"`
		QoS           rawQoS                 `key:"qos"`
		Helper        string                 `key:"helper"`
		Offload       bool                   `key:"offload"`
		CountBytes    bool                   `key:"count_bytes"`
		Policy        string                 `key:"policy"`
		Shadow        string                 `key:"shadow"`
		Params        map[string]float64     `key:"params"`
		Every         time.Duration          `key:"every"`
		Probes        []string               `key:"probes"`
		Health        rawHealth              `key:"health"`
		Passive       rawPassive             `key:"passive"`
		Shaping       rawShaping             `key:"shaping"`
		Backends      map[string]*rawBackend `key:"backends"`
	}
	rawSorry struct {
		Address []string `key:"address"`
		Port    uint16   `key:"port"`
	}
	rawPersistence struct {
		Timeout time.Duration `key:"timeout"`
		Prefix4 int           `key:"prefix4"`
		Prefix6 int           `key:"prefix6"`
		Size    uint32        `key:"size"`
	}
	rawLimits struct {
		New             uint32 `key:"new_per_second"`
		Burst           uint32 `key:"new_burst"`
		NewPerClient    uint32 `key:"new_per_second_per_client"`
		BurstPerClient  uint32 `key:"new_burst_per_client"`
		Open            uint32 `key:"connections"`
		OpenPerClient   uint32 `key:"connections_per_client"`
		ResetsPerClient uint32 `key:"resets_per_second_per_client"`
		Invalid         string `key:"invalid"`
		Clients         uint32 `key:"clients"`
		Answer          string `key:"answer"`
	}
	rawServiceLog struct {
		PerSecond uint32 `key:"per_second"`
		Prefix    string `key:"prefix"`
	}
	rawQoS struct {
		DSCP     string `key:"dscp"`
		Priority string `key:"priority"`
		Mark     uint32 `key:"mark"`
		Mask     uint32 `key:"mask"`
	}
	rawHealth struct {
		Need       string        `key:"need"`
		Critical   []string      `key:"critical"`
		Start      string        `key:"start"`
		FlapLimit  int           `key:"flap_limit"`
		FlapWindow time.Duration `key:"flap_window"`
		FlapHold   time.Duration `key:"flap_hold"`
		FlapMax    time.Duration `key:"flap_max"`
	}
	rawPassive struct {
		Unanswered int           `key:"unanswered"`
		Resets     int           `key:"resets"`
		Eject      time.Duration `key:"eject"`
		Max        time.Duration `key:"max"`
		MaxRatio   float64       `key:"max_ratio"`
	}
	rawProbing struct {
		Concurrency  map[string]int `key:"concurrency"`
		SuspectRatio float64        `key:"suspect_ratio"`
		SuspectMin   int            `key:"suspect_min"`
		SuspectFor   time.Duration  `key:"suspect_for"`
	}
	rawMaintenance struct {
		Backends []string `key:"backends"`
		Reason   string   `key:"reason"`
		Start    string   `key:"start"`
		End      string   `key:"end"`
		Days     []string `key:"days"`
		From     string   `key:"from"`
		To       string   `key:"to"`
		Zone     string   `key:"zone"`
	}
	rawShaping struct {
		StaleAfter   time.Duration `key:"stale_after"`
		Hold         time.Duration `key:"hold"`
		SlowStart    time.Duration `key:"slow_start"`
		SlowStartMin float64       `key:"slow_start_min"`
		Floor        float64       `key:"floor"`
		Ceiling      float64       `key:"ceiling"`
		Step         float64       `key:"step"`
		DeadBand     float64       `key:"dead_band"`
		Panic        float64       `key:"panic"`
	}
	rawBackend struct {
		Address        []string `key:"address"`
		Port           uint16   `key:"port"`
		Weight         uint32   `key:"weight"`
		Priority       uint8    `key:"priority"`
		MaxConnections uint32   `key:"max_connections"`
		Forwarding     string   `key:"forwarding"`
		Source         string   `key:"source"`
		QoS            rawQoS   `key:"qos"`
	}
)
