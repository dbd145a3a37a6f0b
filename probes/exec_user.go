// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// overflowID is nobody's user and group where nobody says otherwise.
const overflowID = 65534

// An identity is who a command runs as.
type identity struct {
	name     string // as configured; "nobody" by default
	uid, gid uint32
	groups   []uint32
	stay     string // why it runs as the daemon's own user; empty if it does not
}

func (i identity) String() string {
	if i.stay != "" {
		return fmt.Sprintf("user %d, as the daemon: %s", i.uid, i.stay)
	}
	return fmt.Sprintf("user %s (%d:%d)", i.name, i.uid, i.gid)
}

// credential is what to become; nil to stay what the daemon is.
func (i identity) credential() *syscall.Credential {
	if i.stay != "" {
		return nil
	}
	return &syscall.Credential{Uid: i.uid, Gid: i.gid, Groups: i.groups}
}

// lookUpUser finds who a command is to run as: a name, "uid:gid", or nobody. A
// daemon that is not root cannot become anybody.
func lookUpUser(name string) (identity, error) {
	who, err := findUser(name)
	if err != nil {
		return identity{}, err
	}
	self := uint32(os.Geteuid())
	stay := ""
	switch {
	case self != 0:
		stay = "it is not root"
	case !mapped("/proc/self/uid_map", who.uid) || !mapped("/proc/self/gid_map", who.gid):
		stay = "its user namespace has no such user"
	}
	switch {
	case stay == "":
		return who, nil
	case name != "" && who.uid != self:
		return identity{}, fmt.Errorf("cannot become user %s: %s: leave user out, or run the daemon as root", name, stay)
	}
	return identity{name: "", uid: self, gid: uint32(os.Getegid()), stay: stay}, nil
}

func findUser(name string) (identity, error) {
	if uid, gid, ok := strings.Cut(name, ":"); ok {
		u, err1 := strconv.ParseUint(uid, 10, 32)
		g, err2 := strconv.ParseUint(gid, 10, 32)
		if err1 != nil || err2 != nil {
			return identity{}, fmt.Errorf("user %q: want a name or UID:GID", name)
		}
		return identity{name: name, uid: uint32(u), gid: uint32(g)}, nil
	}
	account, err := user.Lookup(orNobody(name))
	if err != nil && name != "" {
		account, err = user.LookupId(name)
	}
	switch {
	case err != nil && name == "":
		return identity{name: "nobody", uid: overflowID, gid: overflowID}, nil
	case err != nil:
		return identity{}, fmt.Errorf("there is no user %q on this machine: create it, or give UID:GID", name)
	}
	return ofAccount(account)
}

func orNobody(name string) string {
	if name == "" {
		return "nobody"
	}
	return name
}

// ofAccount is an account of this machine with all its groups.
func ofAccount(account *user.User) (identity, error) {
	who := identity{name: account.Username}
	ids, err := account.GroupIds()
	if err != nil {
		return who, fmt.Errorf("groups of user %s: %w", account.Username, err)
	}
	numbers := make([]uint32, 0, len(ids)+2)
	for _, id := range append([]string{account.Uid, account.Gid}, ids...) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return who, fmt.Errorf("user %s: %w", account.Username, err)
		}
		numbers = append(numbers, uint32(n))
	}
	who.uid, who.gid, who.groups = numbers[0], numbers[1], numbers[2:]
	return who, nil
}

// mapped reports whether an id exists in this user namespace. See
// user_namespaces(7): each line is first id inside, first outside, count.
func mapped(file string, id uint32) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		return true // a kernel without user namespaces
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, n uint64
		if _, err := fmt.Sscan(line, &inside, &outside, &n); err == nil && uint64(id) >= inside && uint64(id) < inside+n {
			return true
		}
	}
	return false
}

// explainStart says what an operator can do about a command that did not start.
func explainStart(err error, user identity) error {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return errors.New("no such program, or the interpreter in its first line is missing")
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s may not run it: look at the mode of the file and of every directory above", user)
	case errors.Is(err, syscall.ENOEXEC):
		return errors.New("not a program: a script needs a first line such as #!/bin/sh")
	case errors.Is(err, syscall.EPERM) && user.stay == "":
		return fmt.Errorf("cannot become %s: the daemon needs CAP_SETUID and CAP_SETGID", user)
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("%s may not have more processes: look at the limits on processes (pids.max, ulimit -u)", user)
	}
	return err
}
