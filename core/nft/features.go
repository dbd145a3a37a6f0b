// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nlmsg"
	"golang.org/x/sys/unix"
)

// A probe asks the kernel for one of its parts, by a message that it takes only
// if it has it.
type probe struct {
	name   string
	lost   string
	remedy string
	// wanted reports whether a service cannot do without; nil where every
	// service can.
	wanted func(*core.ServicePlan) bool
	try    func(*batch)
}

// The names of what is not asked for by a rule of one expression.
const (
	featureFlowtable = "flowtable"
	featureSCTP      = "sctp"
	featureEgress    = "egress hook"
	featureReject    = "reject in netdev"
	featureFwd       = "fwd"
	probeChain       = "probe"
	probeSet         = "probe"
	probeFlowtable   = "probe"
)

// probes are all that may be missing. What no service can do without is not
// among them, but for numgen: without it the weights maps mean nothing.
var probes = makeProbes()

func makeProbes() []probe {
	// The kernel takes no rule that reads what none before it has loaded.
	load := &expr.Immediate{Register: register(0), Data: hostUint32(1)}
	list := []probe{
		{"numgen", "every service whose distribution is not hash", module("nft_numgen", "NFT_NUMGEN"),
			func(s *core.ServicePlan) bool { return !hashes(s) }, tryExpr(&expr.Numgen{Register: register(0), Modulus: 2})},
		{"hash", "distribution hash and symhash, forwarding dsr and stateless", module("nft_hash", "NFT_HASH"), hashes,
			tryExpr(load, &expr.Hash{SourceRegister: register(0), DestRegister: register(0), Length: 4, Modulus: 2, Type: expr.HashTypeJenkins})},
		{"masquerade", "forwarding masquerade and hairpin", module("nft_masq", "NFT_MASQ"), masquerades, tryExpr(&expr.Masq{})},
		{"redirect", "forwarding local", module("nft_redir", "NFT_REDIR"), forwards(core.Local), tryExpr(&expr.Redir{})},
		{"limit", "limits of new connections and of resets, and the log", module("nft_limit", "NFT_LIMIT"),
			func(s *core.ServicePlan) bool {
				l := &s.Limits
				return l.New.PerSecond+l.NewPerClient.PerSecond+l.ResetsPerClient.PerSecond+s.Log.PerSecond > 0
			}, tryExpr(meter{rate: core.Rate{PerSecond: 1, Burst: 1}}.expr())},
		{"connlimit", "limits of open connections", module("nft_connlimit", "NFT_CONNLIMIT"),
			func(s *core.ServicePlan) bool { return s.Limits.Open+s.Limits.OpenPerClient > 0 }, tryExpr(meter{open: 1}.expr())},
		{"log", "the log of what is turned away", module("nft_log", "NFT_LOG"),
			func(s *core.ServicePlan) bool { return s.Log.PerSecond > 0 },
			tryExpr(&expr.Log{Key: 1 << unix.NFTA_LOG_PREFIX, Data: []byte("x")})},
		{"dynset", "persistence, limits per client, forwarding dsr and stateless", "a kernel with CONFIG_NF_TABLES from 5.0 on",
			func(s *core.ServicePlan) bool {
				return s.Persistence.Timeout > 0 || metersClients(&s.Limits) || linked(s)
			},
			tryExpr(load, &expr.Dynset{SrcRegKey: register(0), SetName: probeSet})},
		{"notrack", "forwarding stateless", module("nft_ct", "NFT_CT"), forwards(core.Stateless), tryExpr(&expr.Notrack{})},
		{featureFwd, "forwarding dsr", module("nft_fwd_netdev", "NFT_FWD_NETDEV"), forwards(core.DSR), tryFwd},
		{featureReject, "on_empty reject of dsr and stateless, which drop instead", "a kernel with CONFIG_NFT_REJECT_NETDEV", nil, tryReject},
		{featureEgress, "forwarding stateless", "a kernel from 5.16 on with CONFIG_NETFILTER_EGRESS", forwards(core.Stateless), tryEgress},
		{featureFlowtable, "offload; established connections take the usual path", module("nft_flow_offload and nf_flow_table_inet", "NFT_FLOW_OFFLOAD"), nil, tryFlowtable},
	}
	for _, name := range []string{"ftp", "sip", "tftp"} {
		list = append(list, probe{
			name: helperFeature(name), lost: "helper " + name, remedy: "modprobe nf_conntrack_" + name + " nf_nat_" + name,
			wanted: func(s *core.ServicePlan) bool { return s.Helper == name },
			try:    func(b *batch) { o := newHelper("probe-"+name, name, helperProtocols[name][0]); b.newObject(&o) },
		})
	}
	return append(list, probe{
		name: featureSCTP, lost: "services of SCTP", remedy: "a kernel with CONFIG_NF_CT_PROTO_SCTP",
		wanted: func(s *core.ServicePlan) bool {
			return slices.ContainsFunc(s.Frontends, func(f core.Frontend) bool { return f.Protocol == core.SCTP })
		},
	})
}

func module(name, option string) string {
	return "modprobe " + strings.ReplaceAll(name, " and ", " ") + ", or a kernel with CONFIG_" + option
}

func helperFeature(name string) string { return "helper " + name }

func hashes(s *core.ServicePlan) bool {
	return s.Distribution == core.Hash || s.Distribution == core.SymHash || linked(s)
}

func masquerades(s *core.ServicePlan) bool {
	return s.Hairpin || len(s.MasqueradeFor) > 0 || forwards(core.Masquerade)(s)
}

func metersClients(l *core.Limits) bool {
	return l.NewPerClient.PerSecond+l.ResetsPerClient.PerSecond+l.OpenPerClient > 0
}

// forwards reports whether a backend of the service forwards that way.
func forwards(f core.Forwarding) func(*core.ServicePlan) bool {
	return func(s *core.ServicePlan) bool {
		return slices.ContainsFunc(s.Backends, func(b core.BackendPlan) bool { return b.Forwarding == f })
	}
}

// tryExpr asks by a rule of these expressions. The chain has no hook, so that no
// packet can come to it.
func tryExpr(list ...expr.Any) func(*batch) {
	return func(b *batch) { b.rule(probeChain, newRule(clause{exprs: list})) }
}

// Features are the parts of the kernel that not every kernel has, as they were
// found when the Applier was opened, or last missed since. The list is empty
// where the kernel would not say. It may be called from any goroutine.
func (a *Applier) Features() []core.Feature {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.features)
}

// probeFeatures asks for everything in one transaction, in tables that are gone
// with its end: the kernel goes on after a complaint, and so tells all that it
// lacks at once. It loads the modules that it needs to answer.
func (a *Applier) probeFeatures() error {
	b := &a.b
	b.reset(fmt.Sprintf("%s-probe-%d", a.table, a.w.port), a.w.seq)
	b.newTable(0)
	b.newChain(&chain{name: probeChain})
	b.newSet(define(set{name: probeSet, key: tuple{tIPv4}, setDef: setDef{flags: unix.NFT_SET_EVAL, size: 1}}))
	b.probeNetdev()
	for i := range probes {
		if b.owner = probes[i].name; probes[i].try != nil {
			probes[i].try(b)
		}
	}
	b.owner = ""
	b.netdev(unix.NFT_MSG_DELTABLE, 0)
	b.str(unix.NFTA_TABLE_NAME, b.table)
	b.end()
	b.delTable()
	b.finish()
	list, err := a.w.transact(b)
	if err != nil {
		return fmt.Errorf("probe features: %w", err)
	}
	missing := map[string]bool{}
	for _, m := range list {
		if m.errno == unix.EPERM {
			return nil // who may not change anything need not know
		}
		if name, ok := b.ownerOf(m.seq); ok {
			missing[name] = true
		}
	}
	modules, err := os.ReadFile("/proc/modules")
	if err == nil {
		missHalfHelpers(modules, missing)
	}
	missing[featureSCTP] = !hasSysctl("nf_conntrack_sctp_timeout_established") && hasSysctl("nf_conntrack_tcp_timeout_established")
	a.found(missing)
	return nil
}

func hasSysctl(name string) bool {
	_, err := os.Stat("/proc/sys/net/netfilter/" + name)
	return err == nil
}

// missHalfHelpers takes a helper for missing that is a module without its twin
// for NAT: it would tell the client the backend's address. The kernel loads the
// twin for nobody but Open vSwitch.
func missHalfHelpers(modules []byte, missing map[string]bool) {
	loaded := func(name string) bool { return bytes.Contains(append([]byte("\n"), modules...), []byte("\n"+name+" ")) }
	for name := range helperProtocols {
		if loaded("nf_conntrack_"+name) && !loaded("nf_nat_"+name) {
			missing[helperFeature(name)] = true
		}
	}
}

func (a *Applier) found(missing map[string]bool) {
	list := make([]core.Feature, len(probes))
	for i := range probes {
		p := &probes[i]
		list[i] = core.Feature{Name: p.name, Present: !missing[p.name]}
		if missing[p.name] {
			list[i].Lost, list[i].Remedy = p.lost, p.remedy
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.features = list
}

// lacking is what a service needs and the kernel has not; nil if there is
// nothing of that kind.
func lacking(features []core.Feature, s *core.ServicePlan) error {
	for i := range features {
		if f := &features[i]; !f.Present && probes[i].wanted != nil && probes[i].wanted(s) {
			return fmt.Errorf("service %s: this kernel lacks %s, and with it %s: %s", s.Name, f.Name, f.Lost, f.Remedy)
		}
	}
	return nil
}

// refreshFeatures asks the kernel again if the plan needs something that was
// missing: an operator may have loaded a module since.
func (a *Applier) refreshFeatures(plan core.Plan) error {
	for i := range plan.Services {
		if s := &plan.Services[i]; s.Traffic != nil && lacking(a.features, s) != nil {
			return a.probeAgain()
		}
	}
	return nil
}

// probeAgain is probeFeatures beside a table that is known: its transaction must
// not be taken for somebody else's.
func (a *Applier) probeAgain() error {
	before, err := a.w.generation()
	if err == nil {
		err = a.probeFeatures()
	}
	if err != nil {
		return err
	}
	after, err := a.w.generation()
	if err == nil && before == a.gen && after == before+1 {
		a.gen = after
	}
	return err
}

// netdev begins a message for the family netdev.
func (b *batch) netdev(msg, flags int) {
	b.nft(msg, flags)
	b.buf[b.start+nlmsg.HeaderLen] = unix.NFPROTO_NETDEV
}

// probeNetdev makes the table and the chain of the family netdev.
func (b *batch) probeNetdev() {
	b.netdev(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE)
	b.str(unix.NFTA_TABLE_NAME, b.table)
	b.end()
	b.netdev(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
	b.str(unix.NFTA_CHAIN_TABLE, b.table)
	b.str(unix.NFTA_CHAIN_NAME, probeChain)
	b.end()
}

// tryFwd asks for `fwd to "lo"`.
func tryFwd(b *batch) { b.tryLink(fwdTo("lo", 1)) }

// tryReject asks for `reject` where packets come off the link.
func tryReject(b *batch) { b.tryLink(reject()) }

// tryLink asks by a rule of the family netdev.
func (b *batch) tryLink(c clause) {
	b.linked = true
	b.rule(probeChain, newLinkRule(c))
	b.linked = false
}

// nfNetdevEgress is NF_NETDEV_EGRESS.
const nfNetdevEgress = 1

// tryEgress asks for a chain in the egress hook of lo.
func tryEgress(b *batch) {
	b.netdev(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
	b.str(unix.NFTA_CHAIN_TABLE, b.table)
	b.str(unix.NFTA_CHAIN_NAME, "egress")
	hook := b.nest(unix.NFTA_CHAIN_HOOK)
	b.u32(unix.NFTA_HOOK_HOOKNUM, nfNetdevEgress)
	b.u32(unix.NFTA_HOOK_PRIORITY, 0)
	b.str(unix.NFTA_HOOK_DEV, "lo")
	b.unnest(hook)
	b.str(unix.NFTA_CHAIN_TYPE, "filter")
	b.end()
}

// tryFlowtable asks for a flowtable without devices, and for a rule that uses it.
func tryFlowtable(b *batch) {
	b.newFlowtable(probeFlowtable)
	tryExpr(&expr.FlowOffload{Name: probeFlowtable})(b)
}
