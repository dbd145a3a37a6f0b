// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
)

// TestDenials: what was refused counts for as long as it may be so still, and there is no
// more of it than there are classes.
func TestDenials(t *testing.T) {
	d, now := &denials{}, time.Now()
	refuse := func(connection, what string) {
		d.note(connection, fmt.Errorf("%w: Permissions Violation for %s", nats.ErrPermissionViolation, what), now)
	}
	for i := range 100 {
		refuse(controlConn, fmt.Sprintf(`Publish to "steelyard.v1.health.web.web%d"`, i))
		refuse(controlConn, fmt.Sprintf(`Publish to "else.%d"`, i))
		refuse(controlConn, fmt.Sprintf(`Publish to "steelyard.v1.else%d"`, i))
	}
	refuse(controlConn, `Publish to "steelyard.v1.node.edge.lb1"`)
	refuse(dataConn, `Subscription to "steelyard.v1.probe.>" using queue "q"`)
	refuse(dataConn, `something new`)
	d.note(dataConn, errors.New(`Publish to "x"`), now)
	all := []string{"publish steelyard.v1.else99", "publish steelyard.v1.health.web.web99", "publish steelyard.v1.node.edge.lb1", "subscribe steelyard.v1.probe.>"}
	if diff := cmp.Diff(all, d.texts(now.Add(deniedFor))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all[3:], d.texts(now.Add(deniedFor+time.Second))); diff != "" {
		t.Errorf("after a while (-want +got):\n%s", diff)
	}
	d.forget(controlConn)
	if diff := cmp.Diff(all[3:], d.texts(now)); diff != "" {
		t.Errorf("another connection began anew (-want +got):\n%s", diff)
	}
	if d.forget(dataConn); len(d.texts(now)) != 0 {
		t.Errorf("both began anew: %q", d.texts(now))
	}
}

// TestDenialIsFiledOnce: nats.go keeps the latest error for as long as there is no other, and
// to look at it again makes no refusal younger.
func TestDenialIsFiledOnce(t *testing.T) {
	d, now := &denials{}, time.Now()
	err := fmt.Errorf(`%w: Permissions Violation for Publish to "steelyard.v1.metric.zabbix.web1.cpu"`, nats.ErrPermissionViolation)
	d.note(dataConn, err, now)
	d.note(dataConn, err, now.Add(deniedFor))
	if got := d.metrics(dataConn, now.Add(deniedFor)); got == "" {
		t.Error("a refusal is forgotten too soon")
	}
	if got := d.metrics(dataConn, now.Add(deniedFor+time.Second)); got != "" {
		t.Errorf("one refusal counts as two: %q", got)
	}
	d.forget(dataConn)
	d.note(dataConn, err, now)
	if got := d.metrics(dataConn, now); got != "" {
		t.Errorf("the connection began anew, and what was before it is back: %q", got)
	}
}

// TestRemedyRuns: what the log says to do is a whole command, with what was refused in it.
func TestRemedyRuns(t *testing.T) {
	b := &Bus{opts: Options{Node: "lb1", Group: "edge", Roles: []Role{ProberRole, SchedulerRole}}}
	for what, want := range map[string]string{
		`Publish to "steelyard.v1.node.edge.lb1"`:          "--role prober,scheduler --node lb1 --group edge`",
		`Publish to "steelyard.v1.metric.zabbix.web1.cpu"`: "--role prober,scheduler,ingest --node lb1 --group edge`",
		`Subscription to "steelyard.v1.metric.*.*.*.*"`:    "--role prober,scheduler --node lb1 --group edge`",
		`something that is not known`:                      "--role prober,scheduler --node lb1 --group edge`",
	} {
		if got := b.remedy(errors.New(what)); got != "give the user of this node what `steelyard bus permissions "+want+" prints" {
			t.Errorf("%s: %s", what, got)
		}
	}
}
