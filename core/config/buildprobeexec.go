// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/steelyard-lb/steelyard/core"
)

// placeholders are the words that a command gets filled in.
var placeholders = []string{"address", "port", "service", "backend"}

var uidOnly = regexp.MustCompile(`^[0-9]{1,10}(:[0-9]{1,10})?$`)

var inBraces = regexp.MustCompile(`\{([a-z_]+)\}`)

func (b *builder) exec(path string, r rawProbe) core.ExecSpec {
	s := core.ExecSpec{
		Command: r.Command, User: r.User, Env: r.Env, Convention: core.Convention(r.Convention),
		WarningIsBad: r.Warning == "bad", DynamicWeight: r.DynamicWeight,
	}
	b.command(join(path, "command"), r.Command)
	if s.WarningIsBad && s.Convention != core.Nagios && s.Convention != "" {
		b.wrong(join(path, "warning"), "leave it out", "convention %s knows no warning", s.Convention)
	}
	if s.DynamicWeight && s.Convention != core.Keepalived && s.Convention != "" {
		b.wrong(join(path, "dynamic_weight"), "set convention: keepalived, or leave it out", "dynamic_weight means nothing with convention %s", s.Convention)
	}
	if len(r.Metrics) > 0 && s.Convention != core.Nagios && s.Convention != "" {
		b.misplaced(join(path, "metrics"), "set convention: nagios, or leave it out", "metrics come from performance data, and convention %s has none", s.Convention)
	}
	b.runsAs(join(path, "user"), r.User)
	return s
}

func (b *builder) command(path string, command []string) {
	if b.spoiltBelow(path) {
		return
	}
	if len(command) == 0 || command[0] == "" {
		b.wrong(path, "such as [/usr/lib/nagios/plugins/check_tcp, -H, \"{address}\", -p, \"{port}\"]", "the command names no program")
		return
	}
	at := b.item(path, 0)
	switch program := command[0]; {
	case strings.ContainsAny(program, " \t") && strings.HasPrefix(program, "/") && len(command) == 1:
		b.wrong(at, "write each argument as an item: ["+strings.Join(strings.Fields(program), ", ")+"]", "there is no shell that would take %q apart", program)
		return
	case !filepath.IsAbs(program):
		b.wrong(at, "such as /usr/lib/nagios/plugins/"+filepath.Base(program), "%q is no whole path of a program, and no PATH is searched", program)
		return
	default:
		if err := b.executable(program); err != nil {
			b.warn(at, "every run would end with INTERNAL; is its package installed?", "%s cannot be run on this machine: %v", program, cause(err))
		}
	}
	for i, arg := range command {
		for _, m := range inBraces.FindAllStringSubmatch(arg, -1) {
			if !slices.Contains(placeholders, m[1]) {
				b.warn(b.item(path, i), oneOf(m[1], placeholders), "%s is handed to the command as it stands", m[0])
			}
		}
	}
}

// asksPort reports whether a command is told the port of the backend.
func asksPort(command []string) bool {
	return slices.ContainsFunc(command, func(arg string) bool { return strings.Contains(arg, "{port}") })
}

// executable says why a program cannot be run.
func (b *builder) executable(program string) error {
	if b.opts.Executable != nil {
		return b.opts.Executable(program)
	}
	info, err := os.Stat(program)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return syscall.EISDIR
	case info.Mode().Perm()&0o111 == 0:
		return errors.New("it is not executable")
	}
	return nil
}

// runsAs looks the user up.
func (b *builder) runsAs(path, name string) {
	lookup := b.opts.User
	if lookup == nil {
		lookup = func(name string) error {
			if uidOnly.MatchString(name) {
				return nil // a number needs no name
			}
			_, err := user.Lookup(name)
			return err
		}
	}
	switch {
	case name == "" || b.spoilt[path]:
	case strings.Contains(name, ":") && !uidOnly.MatchString(name):
		b.wrong(path, "a name, or numbers as in 1000:1000", "%q is no user", name)
	case strings.ContainsFunc(name, controlOrSpace):
		b.wrong(path, "such as nobody", "%q is no user", name)
	case lookup(name) != nil:
		b.warn(path, "useradd --system "+name+" makes one; every run would end with INTERNAL", "this machine has no user %q", name)
	case name == "root" || name == "0" || strings.HasPrefix(name, "0:"):
		b.warn(path, "make a user for it", "the command runs as root; it has no capabilities, but all that root owns is open to it")
	}
}
