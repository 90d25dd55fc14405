package dockerd

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "renew docker/daemon.json")

func never(setting) bool { return false }

// merged merges the settings of a usual machine into a file.
func merged(t *testing.T, file string) (string, error) {
	t.Helper()
	d, err := parseDocument([]byte(file))
	if err != nil {
		return "", err
	}
	hosts, err := d.strings("hosts")
	if err != nil {
		return "", err
	}
	p := Host{}.paths()
	listen := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:2376")}
	d, _, err = merge(d, settings(p, hostList(localSockets(hosts, p.socket), listen)), never)
	return string(d.bytes()), err
}

// TestShippedConfiguration holds docker/daemon.json to what a set-up writes on a machine that has none, for an engine that
// no systemd starts.
func TestShippedConfiguration(t *testing.T) {
	t.Parallel()
	const path = "../../docker/daemon.json"
	text, err := merged(t, "")
	if err != nil {
		t.Fatal(err)
	}
	want := []byte(text)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(want), string(read(t, path))); diff != "" {
		t.Errorf("docker/daemon.json is not what a set-up writes; run go test ./internal/dockerd -run TestShipped -update (-want +got):\n%s", diff)
	}
	again, err := merged(t, string(want))
	if err != nil || again != string(want) {
		t.Errorf("merging into the shipped configuration changes it (%v):\n%s", err, cmp.Diff(string(want), again))
	}
}

func TestMergeKeepsOtherKeys(t *testing.T) {
	t.Parallel()
	got, err := merged(t, `{
	"registry-mirrors": ["https://mirror.example"],
	"hosts": ["unix:///run/other.sock", "tcp://0.0.0.0:2375"],
	"no-new-privileges": false,
	"log-driver": "journald",
	"iptables": false,
	"something-new": {"deep": [1.50, "\u00e9"]}
}`)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
	"registry-mirrors": ["https://mirror.example"],
	"hosts": [
		"unix:///run/other.sock",
		"tcp://127.0.0.1:2376"
	],
	"no-new-privileges": false,
	"log-driver": "journald",
	"iptables": true,
	"something-new": {"deep": [1.50, "\u00e9"]},
	"tls": true,
	"tlsverify": true,
	"tlscacert": "/etc/docker/certs/ca.pem",
	"tlscert": "/etc/docker/certs/server-cert.pem",
	"tlskey": "/etc/docker/certs/server-key.pem",
	"userland-proxy": false,
	"live-restore": true
}
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("merged file (-want +got):\n%s", diff)
	}
}

// TestMergeOfSourceDocumentFile is for those who have its daemon.json.
func TestMergeOfSourceDocumentFile(t *testing.T) {
	t.Parallel()
	got, err := merged(t, `{"tls": true, "tlsverify": true, "tlscacert": "/etc/docker/certs/ca.pem", "tlscert": "/etc/docker/certs/server-cert.pem",
		"tlskey": "/etc/docker/certs/server-key.pem", "hosts": ["tcp://0.0.0.0:2376"], "iptables": false, "bridge": "none",
		"live-restore": true, "userland-proxy": false, "no-new-privileges": true}`)
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := json.Unmarshal([]byte(got), &values); err != nil {
		t.Fatal(err)
	}
	want := []any{"unix:///var/run/docker.sock", "tcp://127.0.0.1:2376"}
	if diff := cmp.Diff(want, values["hosts"]); diff != "" || !cmp.Equal(values["iptables"], any(true)) || values["bridge"] != "none" {
		t.Errorf("got hosts %v, iptables %v, bridge %v; want %v, true, and bridge as it was", values["hosts"], values["iptables"], values["bridge"], want)
	}
}

func TestMalformedFilesAreRefused(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"no object": `[]`, "cut off": `{"a": 1`, "text behind": `{} {}`, "comment": "{} // no", "key twice": `{"hosts": [], "hosts": []}`,
		"no value": `{"a": }`, "number as key": `{1: 2}`, "not UTF-8": "{\"a\": \"\xff\"}", "other case": `{"Hosts": []}`,
		"hosts no list": `{"hosts": "tcp://0.0.0.0:1"}`, "comma at the end": `{"a": 1,}`, "endless": `{"a": "` + strings.Repeat("x", maxDocument) + `"}`,
	} {
		if got, err := merged(t, file); err == nil {
			t.Errorf("%s was taken: %s", name, got)
		}
	}
}

func TestValuesOfWrongTypeAreFound(t *testing.T) {
	t.Parallel()
	for _, file := range []string{`{"live-restore": "yes"}`, `{"tlsverify": null}`, `{"log-opts": {"max-size": 5}}`, `{"log-driver": true}`} {
		d, err := parseDocument([]byte(file))
		if err != nil {
			t.Fatal(err)
		}
		if checkTypes(d) == nil {
			t.Errorf("%s was taken", file)
		}
	}
	for _, host := range []string{"127.0.0.1:2376", "tcp://", "http://a", ""} {
		if checkHosts(document{}.with("hosts", encode([]string{host}, ""))) == nil {
			t.Errorf("host %q was taken", host)
		}
	}
}

// FuzzMerge holds for every file that is taken: the result can be read, means the same but for our keys, keeps the order,
// does not change when merged again, and is taken apart by unmerge.
func FuzzMerge(f *testing.F) {
	for _, seed := range []string{
		"", "{}", `{"a":1}`, "{\n\t\"hosts\": [\"fd://\"],\n\t\"x\": {\"y\": []}\n}", `{"log-opts":{},"tls":false}`, `{"a\nb":"\ud83d\ude00","":null}`, `{"HOSTS":1}`,
		original,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		before, err := parseDocument(file)
		if err != nil {
			return
		}
		got, err := merged(t, string(file))
		if err != nil {
			return
		}
		if !json.Valid([]byte(got)) {
			t.Fatalf("%q became %q, which is no JSON", file, got)
		}
		after, err := parseDocument([]byte(got))
		if err != nil {
			t.Fatalf("%q became %q, which cannot be read: %v", file, got, err)
		}
		if again, err := merged(t, got); err != nil || again != got {
			t.Fatalf("%q became %q, and that %q (%v): merging twice is not merging once", file, got, again, err)
		}
		set := map[string]bool{}
		for _, s := range settings(paths{}, nil) {
			set[s.key] = true
		}
		for i, e := range before.entries {
			if after.entries[i].key != e.key {
				t.Fatalf("%q became %q: key %q is not in its place", file, got, e.key)
			}
			if !set[e.key] && !bytes.Equal(after.entries[i].value, e.value) {
				t.Fatalf("%q became %q: the value of %q has changed", file, got, e.key)
			}
		}
		back := unmerge(after, before)
		if diff := cmp.Diff(before.entries, back.entries, cmp.AllowUnexported(entry{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%q became %q, and unmerge makes something else of it: %s", file, got, diff)
		}
	})
}

func TestLocalSocketsAreKept(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		inUse, want []string
	}{
		{nil, []string{"unix:///d.sock"}},
		{[]string{"tcp://0.0.0.0:2375"}, []string{"unix:///d.sock"}},
		{[]string{"fd://", "fd://", "tcp://1.2.3.4:1"}, []string{"fd://"}},
		{[]string{"fd://", "unix:///var/run/docker.sock", "unix:///srv/x.sock"}, []string{"fd://", "unix:///srv/x.sock"}},
		{[]string{"unix:///a", "unix:///b", "unix:///a"}, []string{"unix:///a", "unix:///b"}},
	} {
		if diff := cmp.Diff(tt.want, localSockets(tt.inUse, "/d.sock")); diff != "" {
			t.Errorf("sockets of %q (-want +got): %s", tt.inUse, diff)
		}
	}
}

func TestParseListen(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"127.0.0.1": "127.0.0.1:2376", "10.0.0.5:99": "10.0.0.5:99", "tcp://10.0.0.5": "10.0.0.5:2376", "::1": "[::1]:2376", "[::1]": "[::1]:2376",
		"tcp://[2001:db8::1]:1": "[2001:db8::1]:1", "::ffff:10.0.0.1": "10.0.0.1:2376", "0.0.0.0": "0.0.0.0:2376",
	} {
		if got, err := ParseListen(text, DefaultPort); err != nil || got.String() != want {
			t.Errorf("%q: %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "localhost", "localhost:1", "10.0.0.5:0", "10.0.0.5:70000", "fe80::1%eth0", "[fe80::1%eth0]:1", "http://10.0.0.1", "10.0.0.1 -j ACCEPT"} {
		if got, err := ParseListen(text, DefaultPort); err == nil {
			t.Errorf("%q was taken as %s", text, got)
		}
	}
}

func FuzzParseListen(f *testing.F) {
	for _, seed := range []string{"127.0.0.1", "tcp://[::1]:1", "a", "::ffff:1.2.3.4"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := ParseListen(text, DefaultPort)
		if err != nil {
			return
		}
		if again, err := ParseListen(at.String(), 1); err != nil || again != at {
			t.Fatalf("%q is %s, and that is %s (%v)", text, at, again, err)
		}
		rules, _ := rulesFor([]netip.AddrPort{at}, nil)
		for _, r := range rules {
			if strings.ContainsAny(r.String(), "'\"\\;&|$`\n") {
				t.Fatalf("%q makes the rule %q, which a shell would read in another way", text, r)
			}
		}
	})
}

func TestSecretsAreMasked(t *testing.T) {
	t.Parallel()
	old := `{
  "proxies": {"http-proxy": "http://user:hunter2@proxy:3128"},
  "log-opts": {"splunk-token": "hunter2", "splunk-url": "https://splunk:8088"}
}
`
	got := unified("daemon.json", []byte(old), []byte(strings.Replace(old, "8088", "8089", 1)))
	if strings.Contains(got, "hunter2") || !strings.Contains(got, "splunk:8089") || !strings.Contains(got, "http://[redacted]@proxy:3128") {
		t.Errorf("diff:\n%swant the change and no secret", got)
	}
	if got := unified("a", []byte("x\n"), []byte("x\n")); got != "" {
		t.Errorf("diff of equal texts: %q", got)
	}
}
