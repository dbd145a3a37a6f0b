// SPDX-License-Identifier: Apache-2.0

package nft

import "golang.org/x/sys/unix"

// newTable creates the table, or takes an orphan with the same flags over.
func (b *batch) newTable(flags uint32) {
	b.nft(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE)
	b.str(unix.NFTA_TABLE_NAME, b.table)
	b.u32(unix.NFTA_TABLE_FLAGS, flags)
	b.bytes(nftaTableUserdata, comment(layout))
	b.end()
}

func (b *batch) delTable() {
	b.nft(unix.NFT_MSG_DELTABLE, 0)
	b.str(unix.NFTA_TABLE_NAME, b.table)
	b.end()
}
