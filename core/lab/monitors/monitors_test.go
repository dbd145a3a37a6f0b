// SPDX-License-Identifier: Apache-2.0

package monitors

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// TestScripts: what needs nothing but a script, each with a value of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	labtest.NeedPrograms(t, "zabbix_agentd")
	s := newStand(t)
	address := s.lab.Backends[0].Addr4.String()
	secret := func(variable, user string) []string { return []string{variable + "=" + s.path(user+".password")} }

	t.Run("shell", func(t *testing.T) {
		s.t = t
		s.run(secret("PASSWORD_FILE", "shell"), s.path("shell/push"), "web/web1", "trouble", "0.11")
		s.troubled("web1", 0.11)
		s.run(secret("PASSWORD_FILE", "shell"), s.path("shell/push"), address, "trouble", "0.12")
		s.troubled("web1", 0.12)
	})
	t.Run("steelyard", func(t *testing.T) {
		s.t = t
		s.run(nil, labtest.Steelyard(t), "metric", "push", "web1", "trouble", "0.21", "--socket", s.path("control.sock"))
		s.troubled("web1", 0.21)
	})
	t.Run("zabbix", func(t *testing.T) {
		s.t = t
		s.run(secret("STEELYARD_PASSWORD_FILE", "zabbix"), s.path("zabbix/steelyard-push"), "web/web1", "trouble", "0.31")
		s.troubled("web1", 0.31)
		s.run(secret("STEELYARD_PASSWORD_FILE", "zabbix"), s.path("zabbix/steelyard-push"), s.mediaType(map[string]string{
			"{HOST.IP}": address, "{EVENT.VALUE}": "1", "{ALERT.SENDTO}": "trouble",
		})...)
		s.troubled("web1", 1)
		s.agent("steelyard.show", `"name": "web1"`)
		s.agent("steelyard.ready", "200")
	})
	t.Run("nobody", func(t *testing.T) {
		s.t = t
		const want = "no backend web/b9; service web has web1, web2"
		for name, line := range map[string][]string{
			"the socket": {labtest.Steelyard(t), "metric", "push", "web/b9", "trouble", "1", "--socket", s.path("control.sock")},
			"HTTP":       {labtest.Steelyard(t), "metric", "push", "web/b9", "trouble", "1", "--url", "http://127.0.0.1:9190", "--user", "zabbix", "--password-file", s.path("zabbix.password")},
			"curl":       {"env", "STEELYARD_PASSWORD_FILE=" + s.path("zabbix.password"), s.path("zabbix/steelyard-push"), "web/b9", "trouble", "1"},
		} {
			if out, err := s.node.Command(t.Context(), line[0], line[1:]...); err == nil || !strings.Contains(string(out)+err.Error(), want) {
				t.Errorf("by %s: %v, %s; want a failure that says %q", name, err, out, want)
			}
		}
	})
	t.Run("nats", func(t *testing.T) {
		s.t = t
		s.nats("steelyard.v1.metric.nats.web1.trouble", "0.41")
		s.troubled("web1", 0.41)
	})
	t.Run("telegraf", func(t *testing.T) {
		s.t = t
		// What Telegraf 1.37 sends with data_format = "json". Its time is in whole seconds,
		// so that it could be older than the number before, and then would not count.
		s.post("telegraf", fmt.Sprintf(`{"metrics":[{"fields":{"usage_idle":58.1,"value":0.52},"name":"trouble","tags":{"host":"b1","target":"web/web1"},"timestamp":%d}]}`, time.Now().Unix()+1))
		s.troubled("web1", 0.52)
	})
}

// mediaType are the parameters with which Zabbix runs the script for a problem, by the
// file that is imported there: macros has what it puts in.
func (s *stand) mediaType(macros map[string]string) []string {
	s.t.Helper()
	raw, err := os.ReadFile(s.path("zabbix/mediatype.yaml"))
	s.must(err)
	var file struct {
		Export struct {
			MediaTypes []struct {
				Parameters       []string
				MessageTemplates []struct {
					OperationMode    string `yaml:"operation_mode"`
					Subject, Message string
				} `yaml:"message_templates"`
			} `yaml:"media_types"`
		} `yaml:"zabbix_export"`
	}
	s.must(yaml.Unmarshal(raw, &file))
	media := file.Export.MediaTypes[0]
	problem := media.MessageTemplates[0]
	if problem.OperationMode != "PROBLEM" {
		s.t.Fatalf("the first template is for %s", problem.OperationMode)
	}
	macros["{ALERT.SUBJECT}"], macros["{ALERT.MESSAGE}"] = macros[problem.Subject], macros[problem.Message]
	out := make([]string, len(media.Parameters))
	for i, p := range media.Parameters {
		out[i] = macros[p]
	}
	return out
}

// agent asks a real Zabbix agent for an item.
func (s *stand) agent(item, want string) {
	s.t.Helper()
	out, err := s.node.Command(s.t.Context(), "zabbix_agentd", "-c", s.path("zabbix/steelyard.conf"), "-t", item)
	s.must(err)
	if !strings.Contains(string(out), want) {
		s.t.Errorf("item %s: want %s in it: %s", item, want, out)
	}
}

// nats publishes with the nats command, or as it does where that is not installed.
func (s *stand) nats(subject, body string) {
	s.t.Helper()
	password, err := os.ReadFile(s.path("nats.password"))
	s.must(err)
	secret := strings.TrimSpace(string(password))
	if _, err := exec.LookPath("nats"); err == nil {
		s.run(nil, "nats", "--server", "nats://127.0.0.1:4222", "--user", "nats", "--password", secret, "pub", subject, body)
		return
	}
	s.t.Log("the nats command is not installed: its message is sent without it")
	c, err := nats.Connect("nats://127.0.0.1:4222", nats.UserInfo("nats", secret), nats.SetCustomDialer(dialer{s.node}))
	s.must(err)
	defer c.Close()
	s.must(c.Publish(subject, []byte(body)))
	s.must(c.Flush())
}

type dialer struct{ *lab.Node }

func (d dialer) Dial(network, addr string) (net.Conn, error) {
	var c net.Conn
	err := d.Do(func() (err error) {
		c, err = net.Dial(network, addr)
		return err
	})
	return c, err
}

// post sends a body to the listener as a user.
func (s *stand) post(user, body string) {
	s.t.Helper()
	password, err := os.ReadFile(s.path(user + ".password"))
	s.must(err)
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://127.0.0.1:9190/v1/metrics", strings.NewReader(body))
	s.must(err)
	r.SetBasicAuth(user, strings.TrimSpace(string(password)))
	resp, err := s.http().Do(r)
	s.must(err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var b strings.Builder
		_ = resp.Write(&b)
		s.t.Fatalf("post %s: %s", body, &b)
	}
}

// TestPrometheus: it reads our metrics, and what it is alarmed about comes back by
// Alertmanager.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	labtest.NeedPrograms(t, "prometheus", "prometheus-alertmanager", "promtool", "amtool")
	s := newStand(t)
	s.run(nil, "promtool", "check", "config", s.path("prometheus/prometheus.yml"))
	s.run(nil, "amtool", "check-config", s.path("prometheus/alertmanager.yml"))
	s.exporter(s.lab.Backends[1])
	s.start(s.node, "prometheus-alertmanager", "--config.file", s.path("prometheus/alertmanager.yml"), "--storage.path", s.path("alertmanager"),
		"--web.listen-address", "127.0.0.1:9093", "--cluster.listen-address", "")
	s.start(s.node, "prometheus", "--config.file", s.path("prometheus/prometheus.yml"), "--storage.tsdb.path", s.path("tsdb"), "--web.listen-address", "127.0.0.1:9090")
	s.until("Prometheus reads steelyard", func() error { return s.query(`up{job="steelyard"} == 1`) })
	s.troubled("web1", 0.8) // it has no exporter
	s.exporter(s.lab.Backends[0])
	s.troubled("web1", 0)
}

// exporter is a node_exporter, as far as Prometheus asks.
func (s *stand) exporter(n *lab.Node) {
	s.t.Helper()
	l, err := n.Listen("tcp", net.JoinHostPort(n.Addr4.String(), "9100"))
	s.must(err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "node_up 1") })}
	go func() { _ = srv.Serve(l) }()
	s.t.Cleanup(func() { _ = srv.Close() })
}

// query says so if an expression gives nothing.
func (s *stand) query(expr string) error {
	resp, err := s.http().Get("http://127.0.0.1:9090/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if len(answer.Data.Result) == 0 {
		return fmt.Errorf("%s gives nothing", expr)
	}
	return nil
}

const nagiosConfig = `log_file=DIR/nagios.log
cfg_file=DIR/objects.cfg
cfg_file=DIR/nagios/steelyard.cfg
object_cache_file=DIR/objects.cache
status_file=DIR/status.dat
lock_file=DIR/nagios.pid
temp_file=DIR/nagios.tmp
command_file=DIR/nagios.cmd
check_result_path=DIR/results
temp_path=DIR
query_socket=DIR/nagios.qh
nagios_user=root
nagios_group=root
interval_length=1
check_result_reaper_frequency=1
service_inter_check_delay_method=n
enable_event_handlers=1
obsess_over_services=1
ocsp_command=steelyard-obsess
enable_environment_macros=1
`

const nagiosObjects = `define timeperiod {
	timeperiod_name always
	alias always
	sunday 00:00-24:00
	monday 00:00-24:00
	tuesday 00:00-24:00
	wednesday 00:00-24:00
	thursday 00:00-24:00
	friday 00:00-24:00
	saturday 00:00-24:00
}
define contact {
	contact_name nobody
	host_notifications_enabled 0
	service_notifications_enabled 0
	host_notification_period always
	service_notification_period always
	host_notification_commands state
	service_notification_commands state
}
define command {
	command_name state
	command_line /bin/sh -c 'exit $(cat DIR/code)'
}
define host {
	host_name web1
	address ADDRESS
	max_check_attempts 3
	check_period always
	contacts nobody
	notifications_enabled 0
}
define service {
	use steelyard
	host_name web1
	service_description web
	check_command state
	check_interval 1
	retry_interval 1
	max_check_attempts 3
	check_period always
	contacts nobody
	notifications_enabled 0
}
`

// TestNagios: a real one checks a service, whose event handler tells us.
func TestNagios(t *testing.T) {
	t.Parallel()
	labtest.NeedPrograms(t, "nagios4")
	s := newStand(t)
	state := func(code string) { s.must(os.WriteFile(s.path("code"), []byte(code), 0o644)) }
	fill := strings.NewReplacer("DIR", s.dir, "ADDRESS", s.lab.Backends[0].Addr4.String())
	s.must(os.Mkdir(s.path("results"), 0o755))
	s.must(os.WriteFile(s.path("nagios.cfg"), []byte(fill.Replace(nagiosConfig)), 0o644))
	s.must(os.WriteFile(s.path("objects.cfg"), []byte(fill.Replace(nagiosObjects)), 0o644))
	state("0")
	s.run(nil, "nagios4", "-v", s.path("nagios.cfg"))
	s.start(s.node, "env", "STEELYARD_PASSWORD_FILE="+s.path("nagios.password"), "nagios4", s.path("nagios.cfg"))
	s.troubled("web1", 0)
	state("2")
	s.troubled("web1", 1)
	state("1")
	s.troubled("web1", 0.5)
	state("0")
	s.troubled("web1", 0)
}
