// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	openEvery = 10 * time.Millisecond // between two new connections
	talkEvery = 50 * time.Millisecond // between two lines of an open one
	talkIn    = 20 * time.Second      // an open one without an answer for that long is broken
)

// openIn is how long a client waits for a new connection. Beside other tests it waits for
// its turn, too, which is nobody's fault: see unheard.
var openIn = map[bool]time.Duration{true: 250 * time.Millisecond, false: 10 * time.Second}[long]

// An unheard is a connection whose first packet had to be sent again, a second later: there
// was nobody who took it.
type unheard struct{}

func (unheard) Error() string { return "the first SYN was lost" }
func (unheard) Timeout() bool { return true }

// heard says so if a connection is not one of the first attempt.
func heard(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var info *unix.TCPInfo
	if cerr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO) }); cerr != nil {
		return cerr
	}
	if err == nil && info.Total_retrans > 0 {
		return unheard{}
	}
	return err
}

// An attempt is one new connection.
type attempt struct {
	at  time.Time
	err error
}

// Traffic is what the client does: new connections at a steady rate, and some that
// stay open and talk.
type traffic struct {
	s    *stand
	stop chan struct{} // closed: enough
	wg   sync.WaitGroup

	talkers []*talker

	mu       sync.Mutex
	attempts []attempt // guarded by mu
}

// traffic opens n connections that stay, and begins with new ones.
func (s *stand) traffic(n int) *traffic {
	s.t.Helper()
	f := &traffic{s: s, stop: make(chan struct{})}
	for i := range n {
		f.talkers = append(f.talkers, s.talker(i%2 == 1))
	}
	for _, k := range f.talkers {
		f.wg.Go(func() { k.run(f.stop) })
	}
	f.wg.Go(f.open)
	s.t.Cleanup(f.end)
	return f
}

func (f *traffic) end() {
	select {
	case <-f.stop:
	default:
		close(f.stop)
	}
	f.wg.Wait()
}

// open starts a connection whenever it is time, however long those before take.
func (f *traffic) open() {
	tick := time.NewTicker(openEvery)
	defer tick.Stop()
	for {
		select {
		case <-f.stop:
			return
		case <-tick.C:
		}
		at := time.Now()
		f.wg.Go(func() {
			_, err := f.s.ask(openIn)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.attempts = append(f.attempts, attempt{at, err})
		})
	}
}

// more waits until so many new connections more were answered.
func (f *traffic) more(n int) {
	f.s.t.Helper()
	answered := func() (n int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, a := range f.attempts {
			if a.err == nil {
				n++
			}
		}
		return n
	}
	want := answered() + n
	f.s.until("new connections are answered", func() error {
		if got := answered(); got < want {
			return fmt.Errorf("%d, want %d", got, want)
		}
		return nil
	})
}

// push asks a server to talk unasked from then on.
const push = "push"

// A talker is an open connection. Every second one listens only: after a change the
// first packet is the server's then.
type talker struct {
	conn    net.Conn
	in      *bufio.Reader
	listens bool
	backend string
	err     error         // why it is broken
	stall   time.Duration // the longest that it waited for a line
}

func (s *stand) talker(listens bool) *talker {
	s.t.Helper()
	var c net.Conn
	s.until("a connection is open", func() (err error) {
		c, err = s.client.DialContext(s.t.Context(), "tcp", s.service())
		return err
	})
	s.t.Cleanup(func() { _ = c.Close() })
	k := &talker{conn: c, in: bufio.NewReader(c), listens: listens}
	word := "?"
	if listens {
		word = push
	}
	if _, k.err = fmt.Fprintln(c, word); k.err == nil {
		k.hear()
	}
	if k.err != nil {
		s.t.Fatalf("a new connection: %v", k.err)
	}
	return k
}

// hear reads a line.
func (k *talker) hear() {
	began := time.Now()
	_ = k.conn.SetDeadline(began.Add(talkIn))
	name, err := k.in.ReadString('\n')
	k.stall = max(k.stall, time.Since(began))
	if k.backend == "" {
		k.backend = name
	}
	if k.err = err; err == nil && name != k.backend {
		k.err = fmt.Errorf("an answer of %q, not of %q", name, k.backend)
	}
}

// run talks until it is enough, and then for as long as what was under way at that
// moment can last.
func (k *talker) run(stop <-chan struct{}) {
	tick := time.NewTicker(talkEvery)
	defer tick.Stop()
	for left := 5; left > 0 && k.err == nil; {
		select {
		case <-stop:
			left--
		default:
		}
		if !k.listens {
			<-tick.C
			if _, k.err = fmt.Fprintln(k.conn, "?"); k.err != nil {
				return
			}
		}
		k.hear()
	}
}

// An account is what became of the traffic.
type account struct {
	opened   int           // new connections
	outage   time.Duration // the longest time that none of them found anybody
	harm     time.Duration // from the first that did not to the last
	refused  int           // told so at once
	unheard  int           // no answer in time
	cut      int           // accepted, and then reset or closed
	open     int           // connections that were open when it began
	survived int           // of them
	stall    time.Duration // of those that survived
	causes   map[string]int
}

func (a account) String() string {
	return fmt.Sprintf("new connections: %d, none answered for %s, some unanswered over %s; %d unheard, %d refused, %d cut. Open ones: %d of %d survived, longest wait %s %v",
		a.opened, a.outage.Round(time.Millisecond), a.harm.Round(time.Millisecond), a.unheard, a.refused, a.cut, a.survived, a.open, a.stall.Round(time.Millisecond), a.causes)
}

// close ends the traffic and draws up the account.
func (f *traffic) close() account {
	f.end()
	f.mu.Lock()
	defer f.mu.Unlock()
	a := account{opened: len(f.attempts), open: len(f.talkers), causes: map[string]int{}}
	a.outage, a.harm = outage(f.attempts)
	for _, at := range f.attempts {
		switch {
		case at.err == nil:
		case errors.Is(at.err, syscall.ECONNREFUSED):
			a.refused++
		case isTimeout(at.err), errors.Is(at.err, syscall.ENETUNREACH), errors.Is(at.err, syscall.EHOSTUNREACH):
			a.unheard++ // nobody announces the address
		default:
			a.cut++
		}
	}
	for _, k := range f.talkers {
		if k.err != nil {
			what := cause(k.err)
			if k.listens {
				what += " (listening)"
			}
			a.causes[what]++
			continue
		}
		a.survived++
		a.stall = max(a.stall, k.stall)
	}
	return a
}

// outage is the longest time from a connection that failed to the next one that did
// not, and the time from the first that failed to the last, by when they were begun.
func outage(list []attempt) (longest, harm time.Duration) {
	slices.SortFunc(list, func(a, b attempt) int { return a.at.Compare(b.at) })
	var from, first time.Time // from: since when all fail
	for _, a := range list {
		switch {
		case a.err != nil:
			if from.IsZero() {
				from = a.at
			}
			if first.IsZero() {
				first = a.at
			}
			harm = a.at.Sub(first)
		case !from.IsZero():
			longest = max(longest, a.at.Sub(from))
			from = time.Time{}
		}
	}
	return longest, harm
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// cause is an error without its addresses.
func cause(err error) string {
	var no syscall.Errno
	switch {
	case errors.As(err, &no):
		return no.Error()
	case isTimeout(err):
		return "no answer"
	}
	return err.Error()
}
