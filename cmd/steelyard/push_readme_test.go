// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/bus/bustest"
)

const clusterExample = "../../examples/06-cluster"

// TestClusterReadme does what the README of the example says, to the letter but for its
// addresses and directories: permissions, a nats-server with its configuration, pushes.
func TestClusterReadme(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(clusterExample, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	conf := readmeNATS(t, string(readme), dir)
	port := bustest.FreePort(t)
	bustest.StartServer(t, port, nil, "-c", write(t, dir, "nats.conf", conf))
	example, err := os.ReadFile(filepath.Join(clusterExample, "steelyard.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, dir, "steelyard.yaml", string(example))
	password := write(t, dir, "deploy.password", "change me: deploy\n")
	here := strings.NewReplacer("steelyard.yaml", file, "deploy.password", password)
	at := fmt.Sprintf("nats://127.0.0.1:%d", port)
	pushes := 0
	for _, line := range commandsOf(string(readme)) {
		words := strings.Fields(here.Replace(strings.ReplaceAll(line, `"web3 is new"`, "new")))
		if words[0] != "push" && words[0] != "revisions" {
			continue
		}
		// The example names servers that are not here.
		pushes++
		if out, errs, code := runAll(t, nil, "", append(words, "--server", at)...); code != 0 {
			t.Errorf("%s: code %d\n%s%s", line, code, out, errs)
		}
	}
	if pushes != 3 {
		t.Errorf("%d commands push or list, want 3", pushes)
	}
	// A node may read what was pushed, and not push.
	login := []string{"-c", file, "--server", at, "--user", "lb1", "--password-file", write(t, dir, "node.password", "change me: lb1\n")}
	if out, errs, code := runAll(t, nil, "", append([]string{"revisions"}, login...)...); code != 0 || !strings.Contains(out, "new") {
		t.Errorf("a node reads: code %d\n%s%s", code, out, errs)
	}
	write(t, dir, "steelyard.yaml", strings.Replace(string(example), "weight: 50", "weight: 51", 1))
	if _, errs, code := runAll(t, nil, "", append([]string{"push"}, login...)...); code != exitPermission || !strings.Contains(errs, "pusher") {
		t.Errorf("a node pushes: code %d, %s, want %d and the role", code, errs, exitPermission)
	}
}

// commandsOf are the command lines of a README, without "steelyard".
func commandsOf(readme string) []string {
	var out []string
	for line := range strings.Lines(readme) {
		if line, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "    steelyard "); ok {
			out = append(out, line)
		}
	}
	return out
}

// readmeNATS makes the files with the permissions that the README makes, in dir, and
// returns the configuration that it shows.
func readmeNATS(t *testing.T, readme, dir string) string {
	t.Helper()
	for _, line := range commandsOf(readme) {
		command, file, ok := strings.Cut(line, " > /etc/nats-server/")
		if !ok {
			continue
		}
		out, errs, code := runAll(t, nil, "", strings.Fields(command)...)
		if code != 0 {
			t.Fatalf("%s: code %d\n%s", line, code, errs)
		}
		write(t, dir, file, out)
	}
	_, conf, found := strings.Cut(readme, "    include lb1.conf\n")
	conf, _, ended := strings.Cut(conf, "\n\n")
	if !found || !ended {
		t.Fatal("the README has no configuration of the nats-server")
	}
	return "include lb1.conf\n" + strings.Replace(conf, "/var/lib/nats-server", filepath.Join(dir, "js"), 1) + "\n"
}
