// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/steelyard-lb/steelyard/core/lab/kernellab"
)

// wanted are the modules of the guest. All of them are loaded at its start, so
// that the kernel never has to ask for one while something is measured.
var wanted = []string{
	"crc32c_generic", "ts_kmp", // wanted by other names than their own
	"veth", "dummy", "bridge", "macvlan", "8021q", "sctp", "sch_ingress", "sch_fq_codel", "sch_htb",
	"cls_matchall", "cls_u32", "act_gact", "act_mirred",
	"nf_tables", "nfnetlink*", "nft_*", "nf_nat*", "nf_conntrack*", "nf_flow_table*", "nf_log_syslog",
	"nf_reject_*", "nf_dup_*", "nf_tproxy_*", "nf_synproxy_core",
	"ip_tables", "iptable_nat", "iptable_filter", "iptable_mangle", "iptable_raw",
	"ip6_tables", "ip6table_nat", "ip6table_filter",
	"xt_statistic", "xt_comment", "xt_conntrack", "xt_mark", "xt_connmark", "xt_multiport", "xt_nat",
	"xt_MASQUERADE", "xt_REDIRECT", "xt_tcpudp", "xt_addrtype", "xt_recent", "xt_limit", "xt_connlimit",
	"ip_vs", "ip_vs_*",
}

// copyModules copies the modules to out, with a file "order" that lists them in
// the order in which they load.
func copyModules(dir, out string) error {
	tree, err := kernellab.OpenModules(dir)
	if err != nil {
		return err
	}
	files, err := tree.Order(wanted)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	var order strings.Builder
	for _, f := range files {
		b, err := kernellab.ReadModule(f)
		if err != nil {
			return fmt.Errorf("read module %s: %w", f, err)
		}
		base := strings.TrimSuffix(filepath.Base(f), ".xz")
		if err := os.WriteFile(filepath.Join(out, base), b, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(&order, base)
	}
	fmt.Printf("kernel-lab: %d modules\n", len(files))
	return os.WriteFile(filepath.Join(out, "order"), []byte(order.String()), 0o644)
}
