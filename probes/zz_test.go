package probes

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

func TestZZServer(t *testing.T) {
	if os.Getenv("ZZ") != "server" { t.Skip() }
	l, _ := net.Listen("tcp", "127.0.0.1:18080")
	go func() { for { c, err := l.Accept(); if err != nil { return }; go func() { c.Read(make([]byte, 512)); c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")); c.Close() }() } }()
	conn, _ := net.ListenPacket("udp", "127.0.0.1:18161")
	start := time.Now()
	a := &probestest.Agent{Conn: conn, Community: "c", Objects: func() map[string]probestest.Value { n := uint32(time.Since(start).Seconds()) * 100; return probestest.CPU{User: 1 + n, Idle: 1 + n, Cores: 2}.Objects() }}
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	a.Run(ctx)
}

func TestZZ(t *testing.T) {
	kind := os.Getenv("ZZ")
	if kind == "" || kind == "server" { t.Skip() }
	srv := exec.Command(os.Args[0], "-test.run", "TestZZServer")
	srv.Env = append(os.Environ(), "ZZ=server")
	srv.Start()
	defer func() { srv.Process.Kill(); srv.Wait() }()
	time.Sleep(300 * time.Millisecond)
	var ts []Target
	for i := range 16000 {
		tg := Target{ID: core.BackendID{Service: "s", Backend: fmt.Sprint("b", i)}, Addr: netip.MustParseAddrPort("127.0.0.1:18080"), Spec: core.ProbeSpec{Name: "p", Type: kind, Interval: 5 * time.Second, Timeout: 2 * time.Second, Jitter: 0.1}}
		if kind == core.ProbeSNMPCPU {
			tg.Spec.Port = 18161
			tg.Spec.SNMP = core.SNMPSpec{Version: "2c", Community: "c", Window: 10 * time.Second}
		}
		ts = append(ts, tg)
	}
	var n, bads atomic.Int64
	r := &Runner{Out: func(s core.Sample) { n.Add(1); if !s.OK { if bads.Add(1) < 3 { fmt.Println(s.Code, s.Detail) } } }}
	r.SetTargets(ts)
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Second)
	defer cancel()
	go func() {
		time.Sleep(8 * time.Second)
		var a, b syscall.Rusage
		syscall.Getrusage(0, &a)
		n0 := n.Load()
		time.Sleep(15 * time.Second)
		syscall.Getrusage(0, &b)
		cpu := time.Duration(b.Utime.Nano() + b.Stime.Nano() - a.Utime.Nano() - a.Stime.Nano())
		st, _ := os.ReadFile("/proc/self/status")
		for _, l := range strings.Split(string(st), "\n") { if strings.HasPrefix(l, "VmRSS") || strings.HasPrefix(l, "VmHWM") { fmt.Println(l) } }
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		fmt.Printf("%s: %d runs in 15s, bad %d, cpu %.3f cores, heap %d MB sys %d MB stacks %d MB gor %d\n", kind, n.Load()-n0, bads.Load(), cpu.Seconds()/15, ms.HeapAlloc>>20, ms.Sys>>20, ms.StackInuse>>20, runtime.NumGoroutine())
	}()
	r.Run(ctx)
}
