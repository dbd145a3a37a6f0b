// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

// Every command line of docs/http.md works as it stands.
func TestDocsCommands(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI is set, so curl must be there")
		}
		t.Skip("needs curl")
	}
	doc, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile(`(?m)^curl .*$`).FindAllString(string(doc), -1)
	if len(commands) < 7 {
		t.Fatalf("%d commands in docs/http.md, want those that are there", len(commands))
	}
	node := &fakeNode{view: populated(3, 2)}
	s := fed(t, Config{Node: node, Users: []User{
		{Name: "prometheus", Password: "secret", Rights: []string{RightRead}},
		{Name: "zabbix", Password: "secret", Token: "a-token", Rights: []string{RightPush}},
	}})
	serving(t, s, "http")
	for _, c := range commands {
		out, err := exec.Command("sh", "-c", strings.ReplaceAll(c, "127.0.0.1:9190", s.Addr().String())).CombinedOutput()
		if err != nil || strings.Contains(string(out), "failed") {
			t.Errorf("%s\n%v: %s", c, err, out)
		}
	}
	const want = "web/web1 cpu: cpu=0.42\n192.0.2.20 temperature: temperature=61celsius\n" +
		"web/web1 cpu: cpu=0.42\nweb/web2 cpu: cpu=0.17/1m0s\nweb1 cpu: cpu_usage_idle=58\nweb1 alert_DiskSlow: alert_DiskSlow=1\n"
	if got := undated(node.taken()); got != want {
		t.Errorf("taken:\n%swant:\n%s", got, want)
	}
}

func undated(samples []core.Sample) string {
	for i := range samples {
		samples[i].TakenAt = epoch
	}
	return lines(samples, epoch)
}
