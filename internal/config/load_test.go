package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
)

// home is an environment with a default state directory for every user.
const home = "HOME=/home/user"

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "berth.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func load(t *testing.T, o Options) Config {
	t.Helper()
	o.Environ = append([]string{home}, o.Environ...)
	cfg, err := Load(o)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return cfg
}

// faults loads what must fail and returns the faults by variable.
func faults(t *testing.T, o Options) map[string]Fault {
	t.Helper()
	o.Environ = append([]string{home}, o.Environ...)
	_, err := Load(o)
	all, ok := errors.AsType[*FaultsError](err)
	if !ok {
		t.Fatalf("Load: got error %v, want a *FaultsError", err)
	}
	byName := map[string]Fault{}
	for _, f := range all.Faults {
		byName[f.Variable] = f
	}
	return byName
}

func TestLaterSourceTakesPrecedence(t *testing.T) {
	t.Parallel()
	file := write(t, "log: {level: ERROR, format: json}\nserver: {listen: 127.0.0.1:1}\nsession:\n  stop_timeout: 4.5\n")
	cfg := load(t, Options{
		File:      file,
		Environ:   []string{"LOG_FORMAT=human", "BERTH_LISTEN=127.0.0.1:2"},
		Overrides: map[string]string{"BERTH_LISTEN": "127.0.0.1:3"},
	})
	got := []any{cfg.Log.Level, cfg.Log.Format, cfg.Server.Listen, cfg.Session.StopTimeout.Duration(), cfg.Log.BackupCount, cfg.Server.ConfigFile}
	want := []any{LevelError, "human", "127.0.0.1:3", 4500 * time.Millisecond, 5, file}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("values of default, file, environment and override (-want +got):\n%s", d)
	}
}

func TestEnvironmentNamesConfigFile(t *testing.T) {
	t.Parallel()
	file := write(t, "limits: {max_sessions: 7}")
	if got := load(t, Options{Environ: []string{"BERTH_CONFIG=" + file}}).Limits.MaxSessions; got != 7 {
		t.Errorf("max_sessions of the file that BERTH_CONFIG names: got %d, want 7", got)
	}
}

func TestFileWithoutSettingsKeepsDefaults(t *testing.T) {
	t.Parallel()
	want := load(t, Options{})
	for _, text := range []string{"", "\n\n", "# nothing\n", "server:\nlog: {}\nprofiles:\n"} {
		got := load(t, Options{File: write(t, text)})
		got.Server.ConfigFile = ""
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("file %q changed settings (-want +got):\n%s", text, d)
		}
	}
}

func TestFileFaultsHaveLineNumbers(t *testing.T) {
	t.Parallel()
	file := write(t, "server:\n  listn: x\nlimits:\n  memory: lots\n  max_sessions: few\nnonsense: 1\n")
	got := faults(t, Options{File: file, Environ: []string{"LOG_LEVEL=LOUD"}})
	for _, line := range []string{"2", "4", "5", "6"} {
		if _, ok := got[file+", line "+line]; !ok {
			t.Errorf("no fault for line %s of the file; got %v", line, got)
		}
	}
	if _, ok := got["LOG_LEVEL"]; !ok {
		t.Errorf("a broken file hides the fault of the environment; got %v", got)
	}
}

// Faults name the key and the allowed values, and no Go or YAML types.
func TestFileFaultNamesKeyAndAllowedValues(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"limits: {max_sessions: lots}\n":                      "limits.max_sessions: must be a whole number",
		"limits:\n  max_sessions: 1.5\n":                      "limits.max_sessions: must be a whole number",
		"limits:\n  max_sessions: [1]\n":                      "limits.max_sessions: must be a whole number",
		"docker: {async: perhaps}\n":                          "docker.async: must be true or false",
		"log:\n  level: LOUD\n":                               "log.level: must be DEBUG, INFO",
		"limits: {memory: lots}\n":                            `limits.memory: "lots" is not a size`,
		"server:\n  listn: x\n":                               "server.listn: is not a setting",
		"log: {}\nserver: {listen: a:1, listn: x}\n":          "server.listn: is not a setting",
		"nonsense: 1\n":                                       "nonsense: is not a setting",
		"profiles: {mine: {port: 1, prt: 1}}\n":               "profiles.mine.prt: is not a setting",
		"limits: many\n":                                      "limits: must be a mapping of keys to values",
		"profiles:\n  mine:\n    port: web\n":                 "profiles.mine.port: must be a whole number",
		"profiles: {mine: {command: [a, {b: c}], port: 1}}\n": "profiles.mine.command: must be text",
	} {
		var found []string
		for _, fault := range faults(t, Options{File: write(t, text)}) {
			found = append(found, fault.Problem)
		}
		if !slices.ContainsFunc(found, func(problem string) bool { return strings.HasPrefix(problem, want) }) {
			t.Errorf("%q: got %q, want %q", text, found, want)
		}
		if strings.Contains(strings.Join(found, " "), "!!") {
			t.Errorf("%q: got %q, which names a YAML type", text, found)
		}
	}
}

func TestUnusableFileIsFault(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "none.yaml")
	if got := faults(t, Options{File: missing})["BERTH_CONFIG"]; got.Value != missing {
		t.Errorf("missing file: got fault %v, want one that names it", got)
	}
	for _, text := range []string{"server: [\n", "log: {}\n---\nlog: {}\n", "log: {}\nlog: {}\n", "- list\n"} {
		if got := faults(t, Options{File: write(t, text)}); len(got) != 1 {
			t.Errorf("file %q: got %v, want one fault", text, got)
		}
	}
}

func TestUnparsableValueIsFaultWithValue(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ variable, value, problem string }{
		{"DOCKER_TLS_PORT", "tls", "whole number"},
		{"USE_ASYNC_DOCKER", "yes please", "true or false"},
		{"MEMORY_WARNING_THRESHOLD", "high", "must be a number"},
		{"SESSION_STOP_TIMEOUT", "soon", "number of seconds"},
		{"SESSION_STOP_TIMEOUT", "-1", "negative"},
		{"HTTP_CONNECT_TIMEOUT", "1e300", "292 years"},
		{"HTTP_CONNECT_TIMEOUT", "NaN", "seconds"},
		{"CONTAINER_MEMORY_LIMIT", "4 gigs", "size"},
		{"LOG_LEVEL", "LOUD", "CRITICAL"},
		{"CONTAINER_CPU_QUOTA", "9223372036854775808", "whole number"},
	} {
		t.Run(tc.variable+"="+tc.value, func(t *testing.T) {
			t.Parallel()
			got := faults(t, Options{Environ: []string{tc.variable + "=" + tc.value}})[tc.variable]
			if got.Value != tc.value || !strings.Contains(got.Problem, tc.problem) {
				t.Errorf("got fault %q, want the value %q and %q in it", got, tc.value, tc.problem)
			}
		})
	}
}

func TestEmptyValueCountsAsNotSet(t *testing.T) {
	t.Parallel()
	cfg := load(t, Options{Environ: []string{"LOG_LEVEL=", "DOCKER_TLS_PORT=", "DOCKER_HOST="}})
	if cfg.Log.Level != LevelInfo || cfg.Docker.Host != "tcp://host.docker.internal:2376" {
		t.Errorf("got level %s and host %s, want the defaults", cfg.Log.Level, cfg.Docker.Host)
	}
}

func TestUnknownOverrideIsFault(t *testing.T) {
	t.Parallel()
	got := faults(t, Options{Overrides: map[string]string{"BERTH_LISTN": "x"}})
	if _, ok := got["BERTH_LISTN"]; !ok {
		t.Errorf("got %v, want a fault for the name that does not exist", got)
	}
}

func TestSecretOverrideIsFault(t *testing.T) {
	t.Parallel()
	got := faults(t, Options{Overrides: map[string]string{"BERTH_ADMIN_TOKEN": "hunter2-hunter2-hunter2"}})
	f, ok := got["BERTH_ADMIN_TOKEN"]
	if !ok || strings.Contains(f.String(), "hunter2") {
		t.Errorf("got %v, want a fault that does not show the secret", got)
	}
}

func TestLoadIgnoresProcessEnvironment(t *testing.T) {
	t.Setenv("LOG_LEVEL", "ERROR")
	cfg, _ := Load(Options{})
	if cfg.Log.Level != LevelInfo {
		t.Errorf("got %s from the process's environment, want INFO: only Options.Environ is read", cfg.Log.Level)
	}
}

func TestEndpointIsComposedOfHostAndPort(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		environ []string
		want    string
	}{
		{nil, "tcp://host.docker.internal:2376"},
		{[]string{"DOCKER_HOST_IP=10.0.0.7"}, "tcp://10.0.0.7:2376"},
		{[]string{"DOCKER_HOST_IP=10.0.0.7", "DOCKER_TLS_PORT=2400"}, "tcp://10.0.0.7:2400"},
		{[]string{"DOCKER_HOST_IP=fd00::1"}, "tcp://[fd00::1]:2376"},
		{[]string{"DOCKER_HOST=tcp://engine:1", "DOCKER_HOST_IP=10.0.0.7"}, "tcp://engine:1"},
	} {
		if got := load(t, Options{Environ: tc.environ}).Docker.Host; got != tc.want {
			t.Errorf("DOCKER_HOST with %v: got %s, want %s", tc.environ, got, tc.want)
		}
	}
}

func TestCertificatesComeFromTheDirectoryUnlessNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"ca.pem", "cert.pem", "key.pem", "client-key.pem"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := load(t, Options{Environ: []string{"DOCKER_CERT_PATH=" + dir, "DOCKER_CA_CERT=/etc/ca.pem"}}).Docker
	got := []string{d.CACert, d.ClientCert, d.ClientKey}
	want := []string{"/etc/ca.pem", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "client-key.pem")}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("named file, Docker's name, our name (-want +got):\n%s", d)
	}
	d = load(t, Options{}).Docker
	if want := "docker/certs/client-cert.pem"; d.ClientCert != want {
		t.Errorf("client certificate by default: got %s, want %s", d.ClientCert, want)
	}
}

func TestStateDirectoryFollowsTheUser(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		env  map[string]string
		root bool
		want string
	}{
		{map[string]string{"HOME": "/root"}, true, "/var/lib/berth"},
		{map[string]string{"HOME": "/home/a"}, false, "/home/a/.local/state/berth"},
		{map[string]string{"HOME": "/home/a", "XDG_STATE_HOME": "/x"}, false, "/x/berth"},
		{map[string]string{"HOME": "/home/a", "XDG_STATE_HOME": "x"}, false, "/home/a/.local/state/berth"},
		{nil, false, ""},
	} {
		if got := defaultStateDir(func(k string) string { return tc.env[k] }, tc.root); got != tc.want {
			t.Errorf("state directory of %v (root %v): got %q, want %q", tc.env, tc.root, got, tc.want)
		}
	}
}

func TestProfilesOfTheFileAreAddedOrReplace(t *testing.T) {
	t.Parallel()
	text := `
session: {profile: other}
profiles:
  other:
    image: example/other:1
    port: 9000
    uid: 2000
    gid: 2000
    min_memory: 64m
    username: me
    password_env: SECRET
    ready: {path: /ok}
    volumes: [{name: workspace, path: /work}]
    command: [other, --port, "{port}"]
`
	cfg := load(t, Options{File: write(t, text), Environ: []string{"CONTAINER_MEMORY_LIMIT=128m", "PROCESS_COMMAND=/opt/other"}})
	p := cfg.ActiveProfile()
	if p.Image != "example/other:1" || p.MinMem != session.Bytes(64<<20) {
		t.Errorf("active profile: got %+v, want that of the file", p)
	}
	if d := cmp.Diff([]string{"/opt/other", "--port", "{port}"}, p.Command); d != "" {
		t.Errorf("command with PROCESS_COMMAND (-want +got):\n%s", d)
	}
	if got := cfg.Profiles["other"].Command[0]; got != "other" {
		t.Errorf("PROCESS_COMMAND changed the profile itself: got %q", got)
	}
	if _, ok := cfg.Profiles["opencode"]; !ok {
		t.Error("the built-in profile is gone")
	}
}

func TestBuiltinProfileFitsServer(t *testing.T) {
	t.Parallel()
	p := Default().ActiveProfile()
	if err := p.Validate(); err != nil {
		t.Fatalf("built-in profile: %v", err)
	}
	tmp := slices.IndexFunc(p.Tmpfs, func(m session.Tmpfs) bool { return m.Path == "/tmp" })
	if tmp < 0 || !p.Tmpfs[tmp].Exec || p.Tmpfs[tmp].Mode != "1777" {
		t.Errorf("tmpfs: got %+v, want an executable /tmp of mode 1777: terminals load a library from it", p.Tmpfs)
	}
	if p.Ready.Path != "/global/health" || p.Ready.Member != "healthy" {
		t.Errorf("probe: got %+v, want /global/health to say healthy: unknown paths answer 200", p.Ready)
	}
	if !strings.Contains(p.Env["OPENCODE_CONFIG_CONTENT"], `"disabled_providers":["opencode"]`) {
		t.Errorf("environment: got %v, want the default provider off", p.Env)
	}
}

func TestSystemFileIsReadUnlessAnotherIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, listen string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("server: {listen: '"+listen+"'}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	system, named := write("system.yaml", "127.0.0.1:1"), write("named.yaml", "127.0.0.1:2")
	for name, tt := range map[string]struct {
		options Options
		want    string
	}{
		"alone":                 {Options{SystemFile: system}, "127.0.0.1:1"},
		"missing":               {Options{SystemFile: filepath.Join(dir, "none.yaml")}, Default().Server.Listen},
		"beside a named one":    {Options{SystemFile: system, File: named}, "127.0.0.1:2"},
		"beside BERTH_CONFIG":   {Options{SystemFile: system, Environ: []string{"BERTH_CONFIG=" + named}}, "127.0.0.1:2"},
		"below the environment": {Options{SystemFile: system, Environ: []string{"BERTH_LISTEN=127.0.0.1:3"}}, "127.0.0.1:3"},
		"switched off":          {Options{SystemFile: system, Environ: []string{"BERTH_CONFIG=" + os.DevNull}}, Default().Server.Listen},
	} {
		tt.options.Environ = append(tt.options.Environ, "HOME=/home/x")
		cfg, err := Load(tt.options)
		if err != nil || cfg.Server.Listen != tt.want {
			t.Errorf("%s: got %s, %v; want %s", name, cfg.Server.Listen, err, tt.want)
		}
	}
	if _, err := Load(Options{SystemFile: dir, Environ: []string{"HOME=/home/x"}}); err == nil {
		t.Error("an unreadable system file was ignored")
	}
}
