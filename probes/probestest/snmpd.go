// SPDX-License-Identifier: Apache-2.0

package probestest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gosnmp/gosnmp"
)

// An SnmpdConfig is how to start net-snmp's snmpd.
type SnmpdConfig struct {
	Dir  string         // an empty directory of its own; it is written to
	Addr netip.AddrPort // UDP address to listen on
	// Exec comes before the command, for example ip netns exec NAME. It must
	// exec, not fork.
	Exec []string

	Community string // v2c; empty means no v2c
	// User is a v3 user, allowed authPriv only; empty means no v3. Passwords
	// have 8 characters at least.
	User, AuthPassword, PrivPassword string
	// The protocols in net-snmp's words; empty means SHA-256 and AES.
	AuthProtocol, PrivProtocol string
	// Counters are the first ones. The zero value is a group of zeros, as a real
	// agent shows for its first seconds.
	Counters CPU
	// NativeCounters leaves the agent its own counters, those of this machine.
	NativeCounters bool
	// Pass are subtrees that Rows are in, besides the counters' own; Rows are lines of
	// OID=TYPE:NUMBER in the order of their OIDs, with the words of pass_persist. The
	// agent's own hrProcessorLoad is left out if there are any.
	Pass, Rows []string
	// Lines are more lines of snmpd.conf.
	Lines []string
	// Hide lets readers see the system group only, as Debian's snmpd.conf does.
	Hide bool
}

// A Snmpd is a running snmpd. Its CPU counters are those of SetCounters: the
// agent's own module for them is left out, and a script that reads a file
// answers in its place. (`override` lines look simpler, but snmpd 5.9.3 does
// not take new values for them at SIGHUP: "duplicate registration".)
type Snmpd struct {
	Addr netip.AddrPort

	dir   string
	rows  []string
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is gone; never sent on
}

// passScript speaks snmpd's pass_persist protocol. It reads the file when it
// is asked for ssCpuRawUser, the first object of the probe's GET, so that one
// answer never mixes two sets of counters. The next of an object is the line after
// it; of a table, its first line.
const passScript = `#!/bin/sh
# Answers snmpd from the file counters: lines of OID=TYPE:NUMBER.
cd "${0%/*}" || exit 1
lines=$(cat counters)
while read -r command; do
	case $command in
	PING) echo PONG ;;
	get|getnext)
		read -r oid
		case $oid in .1.3.6.1.4.1.2021.11.50.0|*.7|*.2) lines=$(cat counters) ;; esac
		found= next=
		for line in $lines; do
			name=${line%%=*}
			if [ $command = get ]; then
				[ "$name" = "$oid" ] && found=$line && break
				continue
			fi
			[ "$next" ] && found=$line && break
			case $name in "$oid") next=1 ;; "$oid".*) found=$line; break ;; esac
		done
		if [ -n "$found" ]; then
			value=${found#*=}
			printf '%s\n%s\n%s\n' "${found%%=*}" "${value%%:*}" "${value#*:}"
		else
			echo NONE
		fi
		;;
	*) echo NONE ;;
	esac
done
`

// StartSnmpd starts an agent and waits until it listens. Dir keeps its engine
// id and boot count, so an agent started again in the same Dir is the same
// agent after a restart.
func StartSnmpd(ctx context.Context, c SnmpdConfig) (*Snmpd, error) {
	s := &Snmpd{Addr: c.Addr, dir: c.Dir, rows: c.Rows}
	if err := s.SetCounters(c.Counters); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"pass.sh": passScript, "snmpd.conf": c.text()} {
		if err := os.WriteFile(filepath.Join(c.Dir, name), []byte(text), 0o700); err != nil {
			return nil, fmt.Errorf("write snmpd's files: %w", err)
		}
	}
	args := append([]string{}, c.Exec...)
	args = append(args, "snmpd", "-f", "-Lo", "-C", "-c",
		// The second one is the agent's own: its engine id and boot count.
		filepath.Join(c.Dir, "snmpd.conf")+","+filepath.Join(c.Dir, "state", "snmpd.conf"))
	without := "-smux" // it would want TCP port 199
	if !c.NativeCounters {
		without += ",vmstat_linux,vmstat,cpu_linux,cpu"
	}
	if len(c.Pass) > 0 {
		without += ",hr_proc"
	}
	args = append(args, "-I", without, "udp:"+c.Addr.String())
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.WaitDelay = time.Second // the script may hold the pipe a moment longer
	s.cmd.Env = append(os.Environ(), "SNMP_PERSISTENT_DIR="+filepath.Join(c.Dir, "state"), "MIBS=", "HOME="+c.Dir)
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("start snmpd on %s: %w", c.Addr, err)
	}
	return s, nil
}

func (c SnmpdConfig) text() string {
	view := ".1"
	if c.Hide {
		view = ".1.3.6.1.2.1.1"
	}
	lines := []string{"view seen included " + view}
	if c.Community != "" {
		lines = append(lines, "rocommunity "+c.Community+" default -V seen", "rocommunity6 "+c.Community+" default -V seen")
	}
	if c.User != "" {
		lines = append(lines,
			fmt.Sprintf("createUser %s %s %q %s %q", c.User,
				cmp.Or(c.AuthProtocol, "SHA-256"), c.AuthPassword, cmp.Or(c.PrivProtocol, "AES"), c.PrivPassword),
			"rouser "+c.User+" priv -V seen")
	}
	if !c.NativeCounters {
		lines = append(lines, "pass_persist .1.3.6.1.4.1.2021.11 "+filepath.Join(c.Dir, "pass.sh"))
	}
	for _, subtree := range c.Pass {
		lines = append(lines, "pass_persist "+subtree+" "+filepath.Join(c.Dir, "pass.sh"))
	}
	return strings.Join(append(lines, c.Lines...), "\n") + "\n"
}

// start runs the command until snmpd says its version, which it does when its
// sockets are open.
func (s *Snmpd) start(ctx context.Context) error {
	said := &banner{up: make(chan struct{})}
	s.cmd.Stdout = said // -Lo
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go func() { // ends with snmpd; Stop waits for it
		_ = s.cmd.Wait() // its exit status says nothing that we need
		close(s.ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	select {
	case <-said.up:
		return nil
	case <-s.ended:
		return fmt.Errorf("it ended and said: %s", said.text())
	case <-ctx.Done():
		_ = s.cmd.Process.Kill()
		<-s.ended
		return fmt.Errorf("it did not come up (%w) and said: %s", ctx.Err(), said.text())
	}
}

// A banner reads what snmpd says until the line that it is up.
type banner struct {
	up chan struct{} // closed at that line; never sent on

	mu   sync.Mutex
	said []byte // guarded by mu; what came before up
	seen bool   // guarded by mu
}

// Write implements io.Writer.
func (b *banner) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen {
		return len(p), nil
	}
	b.said = append(b.said, p...)
	if bytes.Contains(b.said, []byte("NET-SNMP version")) {
		b.seen = true
		close(b.up)
	}
	return len(p), nil
}

func (b *banner) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.TrimSpace(string(b.said))
}

// SetRows changes Rows, from the next SetCounters on.
func (s *Snmpd) SetRows(rows ...string) { s.rows = rows }

// SetCounters changes what the agent shows. The next request sees all of the
// new values.
func (s *Snmpd) SetCounters(c CPU) error {
	var b strings.Builder
	for oid, v := range c.Objects() {
		kind := "counter"
		if v.Type == gosnmp.Integer {
			kind = "integer"
		}
		fmt.Fprintf(&b, "%s=%s:%d\n", oid, kind, v.Number)
	}
	for _, row := range s.rows {
		fmt.Fprintln(&b, row)
	}
	path := filepath.Join(s.dir, "counters")
	if err := os.WriteFile(path+".new", []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write counters: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write counters: %w", err)
	}
	return nil
}

// PID is the process id of the agent.
func (s *Snmpd) PID() int { return s.cmd.Process.Pid }

// Pause stops the process without ending it: an agent that hangs.
func (s *Snmpd) Pause() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume undoes Pause.
func (s *Snmpd) Resume() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// Stop ends the agent and waits for it.
func (s *Snmpd) Stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGCONT) // it may be paused
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop snmpd on %s: %w", s.Addr, err)
	}
	kill := time.AfterFunc(5*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	<-s.ended
	return nil
}
