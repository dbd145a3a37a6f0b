// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// Options say where the configuration comes from. The zero value is an empty
// configuration.
type Options struct {
	Path string // the file; empty: none. conf.d is looked for beside it
	// Layers are files over these two and under the environment: the definitions that
	// were pushed. They may only say what Shared names.
	Layers []string
	// LocalOf is a configuration that was loaded before, of a node that follows pushed
	// definitions: Path, conf.d and the files with what is of the node alone are as they
	// were then, whatever became of them; nil: read anew.
	LocalOf *Config
	Env     []string          // NAME=value, as os.Environ gives it
	Flags   map[string]string // values by the path of their key: "log.level"

	// ShippedPolicies are the policies that need no entry in the configuration,
	// with the names of their parameters. With nil for a policy any parameter
	// is taken.
	ShippedPolicies map[string][]string

	// CheckPolicies loads policies in earnest and says what is wrong with them, and
	// with what services ask of them; nil: only what this package sees is checked.
	CheckPolicies func([]core.PolicySpec, []core.Service) []PolicyProblem

	BusSubject  func(pattern string) error // what the bus says to a user's pattern; nil: only its form is checked
	BusReserved []string                   // names that no user of the bus may have
	BusKey      func(nkey string) error    // what the bus says to a user's NKey; nil: only its form is checked

	// Template says what is wrong with the template of a webhook; nil: it is not checked.
	Template func(text string) error

	// Series says what is wrong with a series of a prometheus probe; nil: only its
	// form is checked.
	Series func(text string) error
	// Executable says why a command of an exec probe cannot be run on this machine,
	// and User whether there is such a user; nil asks the system.
	Executable func(path string) error
	User       func(name string) error
	Now        time.Time // for what is over by now; zero: asked of the system

	KeepShared bool // make Config.Shared

	KeepView bool                               // keep what Config.View and YAML need; without it they are empty
	Hostname string                             // default of node; empty: asked of the system
	ReadFile func(path string) ([]byte, error)  // nil means from disk
	ReadDir  func(dir string) ([]string, error) // names of the files in dir; nil means from disk
}

// A Config is a whole, validated configuration. Nothing in it is left to
// default. It is never changed once made.
type Config struct {
	Path  string   // Options.Path
	Files []string // every file that was read, in their order
	Hash  string   // SHA-256 of all below without its secrets, lower-case hex

	// GroupHash is the same on all nodes of a group that have the same services, probes,
	// policies and rules of working together, whatever else their files say.
	GroupHash string

	Warnings Errors // what may be, and was probably not meant

	Node     string
	StateDir string
	Control  Control
	Log      Log
	Kernel   Kernel
	Bus      Bus
	// Cluster is how this node works with others; of a node alone it has AllRoles and
	// nothing else.
	Cluster core.ClusterSpec
	// Definitions is DefinitionsFile or DefinitionsBus.
	Definitions string
	HTTP        HTTP
	Webhooks    []Webhook // sorted by name

	Services []core.Service            // sorted by name, their backends too
	Probes   map[string]core.ProbeSpec // by name
	Probing  core.Probing
	// Maintenance is sorted by name.
	Maintenance []core.Maintenance
	Policies    []core.PolicySpec // sorted by name

	// Shared is what may be pushed; nil unless Options.KeepShared was set.
	Shared *Shared

	local  *localFiles    // nil of a node that follows no pushed definitions
	tree   map[string]any // effective, with secrets; only View reads it
	places map[string]place
}

// Control is the control socket.
type Control struct {
	Socket string // absolute path
	Group  string // group that may use it; empty: nobody but the daemon's own
}

// Log is where to be how talkative.
type Log struct {
	Level  string // debug, info, warn or error
	Format string // auto, text or json
}

// Kernel is what holds for all services in the kernel.
type Kernel struct {
	LocalClients bool   // balance the connections that this node itself makes, too
	HashSeed     uint32 // is the Seed of every service
	// OffloadDevices are the interfaces on whose packets offload works; empty means
	// those that are found.
	OffloadDevices []string
}

// Bus is the event bus.
type Bus struct {
	Listen      string    // address and port for NATS clients; empty: no listener
	Servers     []string  // URLs of an external cluster; no passwords in them
	Login       BusLogin  // for Servers
	Users       []BusUser // sorted by name
	TLS         BusTLS
	CloudEvents bool // publish with the headers of CloudEvents
}

// A BusLogin is how to join Bus.Servers. All of it is optional.
type BusLogin struct {
	User        string
	Password    core.Secret
	Credentials string // path of a .creds file
	NKeyFile    string // path of a file with the seed of an NKey
	Cert, Key   string // paths of PEM files: the certificate of this client
	CA          string // path of a PEM file
}

// A BusUser may connect to Bus.Listen, in one of three ways: with the password,
// with the seed of the NKey, or with a certificate of that name.
type BusUser struct {
	Name        string
	Password    core.Secret
	NKey        string // public, U…
	Certificate string
	Publish     []string // subjects; nil: not said, which is not the same as none
	Subscribe   []string // subjects; nil: not said
}

// BusTLS are paths of PEM files; all empty: no TLS.
type BusTLS struct {
	Cert, Key string
	CA        string // authorities of the certificates of clients; empty: none is asked for
}

// Where services, probes and policies come from.
const (
	DefinitionsFile = "file"
	DefinitionsBus  = "bus" // from what was pushed, over what the files say
)

// HTTP is the listener for metrics and health; the zero value is none.
type HTTP struct {
	Listen    string // address and port; empty: no listener
	TLS       HTTPTLS
	Users     []HTTPUser // sorted by name; none only on a loopback address
	MaxSeries int        // of /metrics, at least 1 with a listener
}

// HTTPTLS are paths of PEM files; all empty: no TLS.
type HTTPTLS struct {
	Cert, Key string
	CA        string // authorities of the certificates of clients; empty: none is asked for
}

// What a user of the HTTP listener may do.
const (
	RightRead = "read"
	RightPush = "push"
)

// An HTTPUser may use HTTP.Listen, with a password or with a token.
type HTTPUser struct {
	Name            string
	Password, Token core.Secret // one of them
	Rights          []string    // RightRead, RightPush
}

// A Webhook is told of events over HTTP.
type Webhook struct {
	Name string
	URL  core.Secret // many hold a token
	Host string      // of the URL, with its scheme: what may be shown
	// Events are patterns of subjects, without the prefix of the bus.
	Events   []string
	Secret   core.Secret   // of the signature; empty: none
	Headers  []core.Header // sorted by name
	Timeout  time.Duration // of one request
	RetryFor time.Duration // until a message is given up; 0: no second time
	CA       string        // path of a PEM file; empty means the system's authorities
	Template string        // of the body, Go's text/template; empty: a CloudEvent
}

// Load reads, merges and checks every layer. The error, if any, is an Errors
// with every problem found, and there is no Config then.
func Load(o Options) (*Config, error) {
	l := newLoader(o)
	l.read()
	if l.spoilt[""] || l.ps.full() {
		return nil, l.ps.errors()
	}
	if l.require(&table, l.tree, ""); l.ps.full() {
		return nil, l.ps.errors()
	}
	cfg := l.build(l.tree)
	l.checkHollow()
	if len(l.ps.list) == 0 && o.CheckPolicies != nil {
		l.checkPolicies(o.CheckPolicies(cfg.Policies, cfg.Services))
	}
	if err := l.ps.errors(); err != nil {
		return nil, err
	}
	cfg.Warnings = l.warnings(cfg)
	if cfg.Definitions == DefinitionsBus {
		cfg.local = l.local
	}
	cfg.Hash, cfg.GroupHash = cfg.hash(), cfg.groupHash(l.policySums)
	if o.KeepShared {
		cfg.Shared = l.shared()
	}
	if o.KeepView {
		cfg.tree, cfg.places = l.tree, l.places
		cfg.complete()
	}
	return cfg, nil
}

// cause is an error of a file without what the place of the problem says already.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// hostname is the default of node.
func (o Options) hostname() (string, error) {
	if o.Hostname != "" {
		return o.Hostname, nil
	}
	return os.Hostname()
}

// checkHollow refuses a file without a word in it, as a copy that was cut short
// leaves behind: a reload would take all services out. Other layers may have them.
func (l *loader) checkHollow() {
	if l.hollow && len(l.opts.Layers) == 0 && len(asMap(l.tree["services"])) == 0 && !l.spoiltBelow("services") {
		l.ps.add(nowhere(0, l.opts.Path), "", "`steelyard config reference` prints one to begin with; write services: {} for a node without any", "the file is empty")
	}
}

// warnings are those of a configuration without errors.
func (l *loader) warnings(c *Config) Errors {
	waits := c.Definitions == DefinitionsBus && len(l.opts.Layers) == 0
	if len(c.Services) == 0 && l.opts.Path != "" && !waits {
		l.warned.add(nowhere(0, l.opts.Path), "", "services: {web: {vip: 192.0.2.10, port: 80, backends: {web1: {address: 10.0.0.11}}}}", "there are no services: this node balances nothing")
	}
	return l.warned.sorted()
}
