package ha

import (
	"strings"
	"testing"
	"time"
)

func TestZZPurge(t *testing.T) {
	s := newStand(t)
	for _, b := range s.balancers {
		b.balance("distribution: random")
		b.conntrackd("yes")
	}
	s.vrrp()
	f := s.traffic(50)
	f.more(20)
	_, other := s.holder()
	count := func() int {
		out, _ := other.node.Command(t.Context(), "conntrack", "-L", "-d", vip)
		if strings.Contains(string(out), "ESTABLISHED") {
			i := strings.Index(string(out), "ESTABLISHED")
			t.Logf("%.300s", out[max(0, i-60):])
		}
		return strings.Count(string(out), "ESTABLISHED")
	}
	t.Log("before", count())
	other.node.Command(t.Context(), "conntrackd", "-C", other.path("conntrackd.conf"), "-t")
	wait(time.Second)
	for range 4 {
		wait(20 * time.Second)
		t.Log("later", count())
	}
}

func TestZZFlood(t *testing.T) {
	s, f := active(t, "forwarding: dsr, interfaces: [eth0], distribution: hash, hash: source_port")
	rx := func() (n string) {
		for _, b := range s.servers {
			out, _ := b.Command(t.Context(), "sh", "-c", "cat /sys/class/net/eth0/statistics/rx_packets; nstat -az TcpExtTCPDSACKOfoSent TcpExtDelayedACKs TcpInSegs TcpExtTCPDSACKOldSent TcpExtTCPACKSkippedSynRecv | tail -5")
			n += strings.ReplaceAll(string(out), "\n", "|") + "  "
		}
		return n
	}
	wait(2 * time.Second)
	a := rx()
	wait(2 * time.Second)
	t.Log("normal ", a, "\n", rx())
	for _, b := range s.balancers {
		_, err := s.router.Command(t.Context(), "bridge", "link", "set", "dev", b.node.Name, "learning", "off")
		s.must(err)
		s.router.Command(t.Context(), "bridge", "fdb", "flush", "dev", b.node.Name)
		out, _ := s.router.Command(t.Context(), "sh", "-c", "echo 1 > /sys/class/net/backends/bridge/flush; bridge fdb show | grep -v permanent; bridge -d link show | grep learning | head -8")
		t.Logf("%s", out)
	}
	wait(time.Second)
	a = rx()
	wait(2 * time.Second)
	t.Log("flooded ", a, "\n", rx())
	t.Log(f.close())
}
