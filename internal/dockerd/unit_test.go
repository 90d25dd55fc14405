package dockerd

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const ownDropIn = "/etc/systemd/system/docker.service.d/zz-berth-tls.conf"

// TestCommandLines derives the drop-in's command line from units as they are shipped and as people make them.
func TestCommandLines(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, cat string
		want      string
		hosts     []string
	}{
		{
			"Debian's docker.io",
			"# /lib/systemd/system/docker.service\n[Unit]\nAfter=docker.socket\n[Service]\nType=notify\nEnvironmentFile=-/etc/default/docker\n" +
				"ExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS\nExecReload=/bin/kill -s HUP $MAINPID\n",
			"/usr/sbin/dockerd --containerd=/run/containerd/containerd.sock $DOCKER_OPTS",
			[]string{"fd://"},
		},
		{
			"Docker's own packages",
			"# /usr/lib/systemd/system/docker.service\n[Service]\nExecStart=/usr/bin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock\n",
			"/usr/bin/dockerd --containerd=/run/containerd/containerd.sock",
			[]string{"fd://"},
		},
		{
			"many lines, and TLS by flags",
			"[Service]\nExecStart=/usr/bin/dockerd \\\n  --host=fd:// \\\n  # not a word\n  -H tcp://0.0.0.0:2376 --tlsverify=true \\\n  --tlscacert /a/ca.pem --tlscert=/a/c.pem --tlskey=/a/k.pem \\\n  --data-root=\"/srv/my docker\" --tls\n",
			`/usr/bin/dockerd --data-root="/srv/my docker"`,
			[]string{"fd://", "tcp://0.0.0.0:2376"},
		},
		{
			"an override of systemctl edit",
			"# /lib/systemd/system/docker.service\n[Service]\nExecStart=/usr/bin/dockerd -H fd://\n\n# /etc/systemd/system/docker.service.d/override.conf\n" +
				"[Service]\nExecStart=\nExecStart=-/opt/dockerd -Hunix:///a -DH=unix:///b --debug\n",
			"-/opt/dockerd -D --debug",
			[]string{"unix:///a", "unix:///b"},
		},
		{
			"our own drop-in does not count",
			"# /lib/systemd/system/docker.service\n[Service]\nExecStart=/usr/bin/dockerd -H fd://\n\n# " + ownDropIn + "\n[Service]\nExecStart=\nExecStart=/usr/bin/dockerd\n",
			"/usr/bin/dockerd",
			[]string{"fd://"},
		},
		{
			"nothing to take out",
			"[Service]\nExecStart=/usr/bin/dockerd --host-gateway-ip 10.0.0.1 --hostname x\n[Other]\nExecStart=/bin/false -H x\n",
			"/usr/bin/dockerd --host-gateway-ip 10.0.0.1 --hostname x",
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := parseUnit(tt.cat, ownDropIn)
			if len(u.start) != 1 {
				t.Fatalf("commands: %q, want one", u.start)
			}
			line, err := words(u.start[0])
			if err != nil {
				t.Fatal(err)
			}
			rest, hosts := strip(line)
			if diff := cmp.Diff(tt.want, join(rest)); diff != "" {
				t.Errorf("command line (-want +got): %s", diff)
			}
			if diff := cmp.Diff(tt.hosts, hosts); diff != "" {
				t.Errorf("hosts (-want +got): %s", diff)
			}
			again, _ := strip(rest)
			if diff := cmp.Diff(join(rest), join(again)); diff != "" {
				t.Errorf("taking them out twice (-once +twice): %s", diff)
			}
		})
	}
}

// TestInstalledUnit reads the unit of the package that is installed here, whatever its version.
func TestInstalledUnit(t *testing.T) {
	t.Parallel()
	const path = "/lib/systemd/system/docker.service"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("no engine is installed here: %v", err)
	}
	u := parseUnit("# "+path+"\n"+string(data), ownDropIn)
	if len(u.start) != 1 {
		t.Fatalf("commands: %q, want one", u.start)
	}
	line, err := words(u.start[0])
	if err != nil {
		t.Fatal(err)
	}
	rest, hosts := strip(line)
	if !strings.HasSuffix(program(rest), "/dockerd") || strings.Contains(join(rest), "-H") || !cmp.Equal(hosts, []string{"fd://"}) {
		t.Errorf("%q becomes %q without %q; want dockerd without -H fd://", u.start[0], join(rest), hosts)
	}
}

func TestUnclosedQuotationIsRefused(t *testing.T) {
	t.Parallel()
	if got, err := words(`/usr/bin/dockerd --label "a`); err == nil {
		t.Errorf("it was taken as %v", got)
	}
}

func TestDropIn(t *testing.T) {
	t.Parallel()
	line, err := words("/usr/bin/dockerd -H fd:// --containerd=/c.sock")
	if err != nil {
		t.Fatal(err)
	}
	rest, _ := strip(line)
	rules, _ := rulesFor([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:2376")}, nil)
	want := `# Made by "berth docker setup-tls"; "berth docker setup-tls --undo" removes it.
[Service]
# daemon.json says where the engine listens, so its command line must not.
ExecStart=
ExecStart=/usr/bin/dockerd --containerd=/c.sock
# Containers must not reach the engine's port.
ExecStartPre=/bin/sh -c 'iptables -w -C INPUT ! -i lo -d 127.0.0.1 -p tcp --dport 2376 -j DROP 2>/dev/null || iptables -w -I INPUT ! -i lo -d 127.0.0.1 -p tcp --dport 2376 -j DROP'
`
	if diff := cmp.Diff(want, dropInText(line, rest, rules, isolation{})); diff != "" {
		t.Errorf("drop-in (-want +got):\n%s", diff)
	}
	if got := dropInText(rest, rest, nil, isolation{}); got != "" {
		t.Errorf("drop-in with nothing in it: %q, want none", got)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	address := netip.MustParseAddr
	for _, tt := range []struct {
		listen string
		owner  string
		want   []string
		notes  int
	}{
		{"127.0.0.1:2376", "lo", []string{"iptables -w -I INPUT ! -i lo -d 127.0.0.1 -p tcp --dport 2376 -j DROP"}, 0},
		{"[::1]:2376", "lo", nil, 0},
		{"10.0.0.5:99", "eth0", []string{
			"iptables -w -I INPUT -i docker+ -d 10.0.0.5 -p tcp --dport 99 -j DROP",
			"iptables -w -I INPUT -i br-+ -d 10.0.0.5 -p tcp --dport 99 -j DROP",
			"iptables -w -I INPUT -i berth+ -d 10.0.0.5 -p tcp --dport 99 -j DROP",
		}, 0},
		{"10.0.0.5:99", "br-mgmt", []string{
			"iptables -w -I INPUT -i docker+ -d 10.0.0.5 -p tcp --dport 99 -j DROP",
			"iptables -w -I INPUT -i berth+ -d 10.0.0.5 -p tcp --dport 99 -j DROP",
		}, 1},
		{"[2001:db8::1]:2376", "eth0", []string{
			"ip6tables -w -I INPUT -i docker+ -d 2001:db8::1 -p tcp --dport 2376 -j DROP",
			"ip6tables -w -I INPUT -i br-+ -d 2001:db8::1 -p tcp --dport 2376 -j DROP",
			"ip6tables -w -I INPUT -i berth+ -d 2001:db8::1 -p tcp --dport 2376 -j DROP",
		}, 0},
		{"0.0.0.0:2376", "", []string{
			"iptables -w -I INPUT -i docker+ -p tcp --dport 2376 -j DROP", "ip6tables -w -I INPUT -i docker+ -p tcp --dport 2376 -j DROP",
			"iptables -w -I INPUT -i br-+ -p tcp --dport 2376 -j DROP", "ip6tables -w -I INPUT -i br-+ -p tcp --dport 2376 -j DROP",
			"iptables -w -I INPUT -i berth+ -p tcp --dport 2376 -j DROP", "ip6tables -w -I INPUT -i berth+ -p tcp --dport 2376 -j DROP",
		}, 0},
	} {
		listen := netip.MustParseAddrPort(tt.listen)
		rules, notes := rulesFor([]netip.AddrPort{listen}, map[netip.Addr]string{address(listen.Addr().String()): tt.owner})
		var got []string
		for _, r := range rules {
			got = append(got, r.String())
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || len(notes) != tt.notes {
			t.Errorf("rules for %s on %s (-want +got), %d notes: %s", tt.listen, tt.owner, len(notes), diff)
		}
	}
}

// FuzzCommandLine holds for every command line: what is taken out stays out, and nothing else changes.
func FuzzCommandLine(f *testing.F) {
	f.Add("/usr/bin/dockerd -H fd:// --containerd=/c.sock $DOCKER_OPTS")
	f.Add(`dockerd -DH=a --host "b c" --tls --tlskey`)
	f.Add("-H")
	f.Fuzz(func(t *testing.T, line string) {
		all, err := words(line)
		if err != nil {
			return
		}
		rest, _ := strip(all)
		kept, err := words(join(rest))
		if err != nil {
			t.Fatalf("%q becomes %q, which cannot be read: %v", line, join(rest), err)
		}
		for _, w := range kept {
			name, _, _ := strings.Cut(w.text, "=")
			if _, ourFlag := ours[name]; ourFlag || hostFlag.MatchString(w.text) {
				t.Fatalf("%q becomes %q, which still says where the engine listens", line, join(rest))
			}
		}
	})
}

func TestOptionsElsewhereAreRefused(t *testing.T) {
	t.Parallel()
	for options, refused := range map[string]bool{
		`DOCKER_OPTS="--dns 8.8.8.8 --live-restore"`: false,
		`#DOCKER_OPTS="-H tcp://0.0.0.0:2375"`:       false,
		`DOCKER_OPTS="-H tcp://0.0.0.0:2375"`:        true,
		`export DOCKER_OPTS='--tlsverify'`:           true,
		"OTHER=-H\nDOCKER_OPTS=--debug":              false,
	} {
		root := t.TempDir()
		put(t, root, "/etc/default/docker", options)
		put(t, root, "/etc/init.d/docker", "")
		s := WithoutMaterial(Host{Root: root}, Options{})
		c, err := s.command(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		flags, err := c.flags()
		if (err != nil) != refused {
			t.Errorf("%s: flags %q, %v; want it to be refused: %v", options, flags, err, refused)
		}
		if strings.Contains(options, "8.8") && !cmp.Equal(flags, []string{"dns", "live-restore"}) {
			t.Errorf("%s: flags %q, want dns and live-restore", options, flags)
		}
	}
}

func put(t *testing.T, root, path, text string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
