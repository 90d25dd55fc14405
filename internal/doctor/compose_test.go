package doctor

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var sockets = []string{"/var/run/docker.sock", "/run/docker.sock"}

// opened lists "service:line" of the mounts of a compose file that give the engine away.
func opened(t *testing.T, text string, env map[string]string) []string {
	t.Helper()
	mounts, err := composeMounts([]byte(text), func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if err != nil {
		t.Fatalf("read %q: %v", text, err)
	}
	all := []string{}
	for _, m := range mounts {
		if m.what != "" || opensEngine(m.source, m.target, sockets) != "" {
			all = append(all, fmt.Sprintf("%s:%d", m.service, m.line))
		}
	}
	return all
}

func TestSocketsAreFoundInEveryFormOfAMount(t *testing.T) {
	t.Parallel()
	service := func(volume string) string { return "services:\n  a:\n    volumes:\n      - " + volume + "\n" }
	for name, tc := range map[string]struct {
		text string
		env  map[string]string
		want []string
	}{
		"short":               {service("/var/run/docker.sock:/var/run/docker.sock"), nil, []string{"a:4"}},
		"short, read-only":    {service("'/run/docker.sock:/docker.sock:ro'"), nil, []string{"a:4"}},
		"unclean path":        {service("/var//run/../run/docker.sock:/x"), nil, []string{"a:4"}},
		"directory":           {service("/var/run:/host/run"), nil, []string{"a:4"}},
		"whole host":          {service("/:/host:ro"), nil, []string{"a:4"}},
		"pipe":                {service(`'\\.\pipe\docker_engine:\\.\pipe\docker_engine'`), nil, []string{"a:4"}},
		"rootless":            {service("/run/user/1000/docker.sock:/x"), nil, []string{"a:4"}},
		"long":                {service("{type: bind, source: /var/run/docker.sock, target: /x}"), nil, []string{"a:4"}},
		"long, short names":   {service("{type: bind, src: /run/docker.sock, dst: /x}"), nil, []string{"a:4"}},
		"default of variable": {service("${SOCK:-/var/run/docker.sock}:/x"), nil, []string{"a:4"}},
		"variable":            {service("$SOCK:/x"), map[string]string{"SOCK": "/run/docker.sock"}, []string{"a:4"}},
		"variable elsewhere":  {service("${SOCK:-/var/run/docker.sock}:/x"), map[string]string{"SOCK": "/tmp/x"}, []string{}},
		"unknown variable":    {service("${SOCK}:/var/run/docker.sock"), nil, []string{"a:4"}},
		"nested default":      {service("${A:-${B:-/run/docker.sock}}:/x"), nil, []string{"a:4"}},
		"alternative":         {service("${A:+/run/docker.sock}:/x"), map[string]string{"A": "1"}, []string{"a:4"}},
		"set and empty":       {service("${A-/run/docker.sock}:/x"), map[string]string{"A": ""}, []string{}},
		"anchor":              {"x: &v\n  - /run/docker.sock:/x\nservices:\n  a:\n    volumes: *v\n", nil, []string{"a:2"}},
		"merge":               {"x: &s\n  volumes:\n    - /run/docker.sock:/x\nservices:\n  a:\n    <<: *s\n", nil, []string{"a:3"}},
		"list of merges":      {"x: &s\n  volumes: ['/run/docker.sock:/x']\nservices:\n  a:\n    <<: [*s]\n", nil, []string{"a:2"}},
		"named volume": {
			"services: {a: {volumes: ['v:/x']}}\nvolumes:\n  v:\n    driver_opts: {type: none, o: bind, device: /var/run}\n", nil, []string{"volume v:4"},
		},
		"secret":          {"secrets:\n  s:\n    file: /run/docker.sock\n", nil, []string{"secrets s:3"}},
		"API socket":      {"services:\n  a:\n    use_api_socket: true\n", nil, []string{"a:3"}},
		"second document": {"services: {}\n---\n" + service("/run/docker.sock:/x"), nil, []string{"a:6"}},
		"clean":           {service("./docker/certs:/etc/docker/certs:ro"), nil, []string{}},
		"no source":       {service("/var/lib/x"), nil, []string{}},
		"named":           {service("docker:/data"), nil, []string{}},
		"a dollar":        {service("/data$$x:/x"), nil, []string{}},
		"no mapping":      {"- a\n- b\n", nil, []string{}},
		"empty":           {"", nil, []string{}},
	} {
		if diff := cmp.Diff(tc.want, opened(t, tc.text, tc.env)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// bomb is a document of few bytes with 9 to the power of 9 nodes.
func bomb() string {
	var b strings.Builder
	b.WriteString("x0: &x0 {services: {}}\n")
	for i := range 9 {
		b.WriteString(fmt.Sprintf("x%d: &x%d {", i+1, i+1))
		for j := range 9 {
			fmt.Fprintf(&b, "k%d: *x%d, ", j, i)
		}
		b.WriteString("<<: [" + strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d, ", i), 9), ", ") + "]}\n")
	}
	b.WriteString("services: *x9\n")
	return b.String()
}

func TestAFileOfAliasesWithinAliasesEnds(t *testing.T) {
	t.Parallel()
	if _, err := composeMounts([]byte(bomb()), func(string) (string, bool) { return "", false }); err == nil {
		t.Error("a document without an end was read to its end")
	}
}

func FuzzComposeMounts(f *testing.F) {
	f.Add("services: {a: {volumes: ['/var/run/docker.sock:/x', {source: /a, target: /b}]}}")
	f.Add("x: &x {volumes: [a:b]}\nservices: {a: {<<: *x}}\nvolumes: {v: {driver_opts: {device: /run}}}")
	f.Add("services: {a: {volumes: ['${A:-${B}}$C$$:c:\\d']}}")
	f.Add(bomb())
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := composeMounts([]byte(text), func(name string) (string, bool) { return "$" + name, len(name) > 2 })
		if err != nil && mounts != nil {
			t.Errorf("got mounts and the error %v", err)
		}
		for _, m := range mounts {
			if m.line < 1 {
				t.Errorf("mount %+v is at no line", m)
			}
			if how := opensEngine(m.source, m.target, sockets); how == "" && filepath.Clean(m.source) == sockets[0] {
				t.Errorf("mount %+v of the socket was not found", m)
			}
		}
	})
}

func TestRulesThatRestrictThePort(t *testing.T) {
	t.Parallel()
	for rules, want := range map[string]bool{
		"":                      false,
		":INPUT DROP [0:0]\n":   true,
		":INPUT ACCEPT [0:0]\n": false,
		"-A INPUT -i docker+ -p tcp -m tcp --dport 2376 -j DROP\n":                                                                    true,
		"-A INPUT -p tcp -m multiport --dports 2375,2376 -j REJECT\n":                                                                 true,
		"-A INPUT -p tcp --dport 2376 -j ACCEPT\n":                                                                                    false,
		"-A INPUT -p tcp --dport 23760 -j DROP\n":                                                                                     false,
		"-A INPUT -p tcp --dport 12376 -j DROP\n":                                                                                     false,
		"-A FORWARD -p tcp --dport 2376 -j DROP\n":                                                                                    false,
		"-A INPUT -i br-+ -m conntrack --ctstate NEW -j DROP\n":                                                                       true,
		"-A INPUT -i br-+ -p tcp --dport 22 -j DROP\n":                                                                                false,
		"-A ufw-user-input -p tcp --dport 2376 -j DROP\n":                                                                             true,
		"chain input {\ntype filter hook input priority 0; policy drop;\n}\n":                                                         true,
		"chain input {\ntype filter hook input priority 0; policy accept;\n}\n":                                                       false,
		"chain i {\ntype filter hook input priority 0;\ntcp dport 2376 drop\n}\n":                                                     true,
		"chain i {\ntype filter hook input priority 0;\ntcp dport { 22, 2376 } reject\n}\n":                                           true,
		"chain i {\ntype filter hook input priority 0;\n}\nchain f {\ntype filter hook forward priority 0;\ntcp dport 2376 drop\n}\n": false,
	} {
		if got := restricts(rules, "2376"); got != want {
			t.Errorf("%q: got %t, want %t", rules, got, want)
		}
	}
}

func TestListenersAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "tcp"), `  sl  local_address rem_address   st
   0: 0100007F:0948 00000000:0000 0A 00000000:00000000 00:00000000 00000000
   1: 00000000:0947 00000000:0000 0A 00000000:00000000 00:00000000 00000000
   2: 0100007F:0948 0100007F:D431 01 00000000:00000000 00:00000000 00000000
   3: zz:0948 00000000:0000 0A
`)
	write(t, filepath.Join(dir, "tcp6"), `  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:0948 00000000000000000000000000000000:0000 0A 00000000:00000000
   1: 0000000000000000FFFF00000100007F:0948 00000000000000000000000000000000:0000 0A 00000000:00000000
`)
	got, err := listeners(filepath.Join(dir, "tcp"), filepath.Join(dir, "tcp6"), filepath.Join(dir, "none"))
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, l := range got {
		texts = append(texts, netip.AddrPortFrom(l.Addr().Unmap(), l.Port()).String())
	}
	if diff := cmp.Diff([]string{"127.0.0.1:2376", "0.0.0.0:2375", "[::1]:2376", "127.0.0.1:2376"}, texts); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
	if _, err := listeners(filepath.Join(dir, "none")); err == nil {
		t.Error("no file at all was no error")
	}
}
