// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
)

// A natsFlags is where a NATS is and how to log in there, for commands that need no
// daemon. A password stands in a file: on the command line everybody could read it.
type natsFlags struct {
	servers                   []string
	user, passwordFile, creds string
	nkey, ca, cert, key       string
}

func (f *natsFlags) addFlags(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringSliceVar(&f.servers, "server", nil, "NATS server, such as nats://192.0.2.53:4222; several with commas between")
	s.StringVar(&f.user, "user", "", "user to log in as; with --nkey, --creds or --cert the name that its permissions are for")
	s.StringVar(&f.passwordFile, "password-file", "", "file that holds the user's password")
	s.StringVar(&f.creds, "creds", "", "a .creds file, in place of user and password")
	s.StringVar(&f.nkey, "nkey", "", "file that holds the seed of an NKey, in place of user and password")
	s.StringVar(&f.ca, "ca", "", "authorities to trust, PEM; default: the system's")
	s.StringVar(&f.cert, "cert", "", "certificate of this client, PEM")
	s.StringVar(&f.key, "key", "", "its private key, PEM")
}

// used reports whether a flag says more than where the servers are.
func (f *natsFlags) used() bool {
	return f.user+f.passwordFile+f.creds+f.nkey+f.ca+f.cert+f.key != ""
}

func (f *natsFlags) login() (bus.Login, error) {
	l := bus.Login{Credentials: f.creds, NKey: core.Secret(f.nkey), CA: f.ca, TLS: bus.TLSFiles{Cert: f.cert, Key: f.key}}
	var err error
	// A key says who logs in. The name beside it is for the inbox, and for the source of metrics.
	if f.nkey+f.creds+f.cert == "" || f.passwordFile != "" {
		l.User = f.user
	}
	l.Password, err = secretIn(f.passwordFile)
	if err == nil && l.Password != "" && f.user == "" {
		err = usage(errors.New("--password-file without --user"))
	}
	return l, err
}

// secretIn is what a file holds, without the newline at its end; nothing of no file.
func secretIn(path string) (core.Secret, error) {
	if path == "" {
		return "", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the secret: %w", err)
	}
	text := strings.TrimRight(string(data), "\r\n")
	if text == "" {
		return "", fmt.Errorf("read the secret: %s is empty", path)
	}
	return core.Secret(text), nil
}
