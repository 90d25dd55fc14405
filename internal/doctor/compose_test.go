package doctor

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var sockets = []string{"/var/run/docker.sock", "/run/docker.sock"}

// opened lists "service:line" of each mount in a compose file that exposes the engine.
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

func TestComposeMountsFindSocketInEveryForm(t *testing.T) {
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
		"beside other forms": {
			"services:\n  b: 3\n  c: {volumes: none}\n  a:\n    volumes:\n      - ~\n      - [x]\n      - {source: [x]}\n      - /run/docker.sock:/x\n", nil, []string{"a:9"},
		},
		"no mapping": {"- a\n- b\n", nil, []string{}},
		"empty":      {"", nil, []string{}},
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

func TestComposeMountsRefuseNestedAliases(t *testing.T) {
	t.Parallel()
	if _, err := composeMounts([]byte(bomb()), func(string) (string, bool) { return "", false }); err == nil {
		t.Error("an excessively expanding document was decoded")
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
