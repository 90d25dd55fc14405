package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestInvalidValuesAreFaults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ environ, variable, problem string }{
		{"USE_DATABASE_STORAGE=maybe", "USE_DATABASE_STORAGE", "true or false"},
		{"USE_DATABASE_STORAGE=true BERTH_RUNTIME=process", "USE_DATABASE_STORAGE", "contradicts BERTH_RUNTIME"},
		{"USE_DATABASE_STORAGE=true DATABASE_URL=mysql://host/name", "DATABASE_URL", "postgres://"},
		{"USE_DATABASE_STORAGE=true DB_PORT=0", "DB_PORT", "between 1"},
		{"USE_DATABASE_STORAGE=true DB_SSLMODE=on", "DB_SSLMODE", "verify-full"},
		{"USE_DATABASE_STORAGE=true DB_SSLCERT=cert.pem", "DB_SSLCERT", "both"},
		{"USE_DATABASE_STORAGE=true DB_MIN_CONNECTIONS=30", "DB_MIN_CONNECTIONS", "DB_MAX_CONNECTIONS=20"},
		{"USE_DATABASE_STORAGE=true DB_MIN_CONNECTIONS=1 DB_MAX_CONNECTIONS=1", "DB_MAX_CONNECTIONS", "between 2"},
		{"USE_DATABASE_STORAGE=true DB_MAX_QUERIES=0", "DB_MAX_QUERIES", "between 1"},
		{"USE_DATABASE_STORAGE=true DB_MAX_INACTIVE_LIFETIME=0", "DB_MAX_INACTIVE_LIFETIME", "between 1s"},
		{"USE_DATABASE_STORAGE=true DB_PASSWORD=x DB_PASSWORD_FILE=y", "DB_PASSWORD_FILE", "contradicts DB_PASSWORD"},
		{"USE_DATABASE_STORAGE=true DB_PASSWORD_FILE=/nowhere/at/all", "DB_PASSWORD_FILE", "no such file"},
		{"BERTH_LISTEN=8080", "BERTH_LISTEN", "host:port"},
		{"BERTH_LISTEN=localhost:70000", "BERTH_LISTEN", "host:port"},
		{"BERTH_ADMIN_TOKEN=short", "BERTH_ADMIN_TOKEN", "16"},
		{"BERTH_ADMIN_TOKEN=long enough but with spaces", "BERTH_ADMIN_TOKEN", "without spaces"},
		{"DOCKER_HOST=unix:///var/run/docker.sock", "DOCKER_HOST", "--insecure-docker-socket"},
		{"DOCKER_HOST=engine:2376", "DOCKER_HOST", "tcp://host:port"},
		{"DOCKER_HOST=tcp://engine", "DOCKER_HOST", "tcp://host:port"},
		{"DOCKER_HOST=http://engine:2375", "DOCKER_HOST", "tcp://host:port"},
		{"DOCKER_HOST=ssh://engine:22", "DOCKER_HOST", "tcp://host:port"},
		{"DOCKER_TLS_PORT=0", "DOCKER_TLS_PORT", "between 1 and 65535"},
		{"DOCKER_TLS_VERIFY=0 DOCKER_ENV=production", "DOCKER_TLS_VERIFY", "contradicts DOCKER_ENV"},
		{"DOCKER_TLS_PIN=sha256//AAAA", "DOCKER_TLS_PIN", "SHA-256"},
		{"DOCKER_TLS_PIN=sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,", "DOCKER_TLS_PIN", "commas"},
		{"DOCKER_ENV=prod", "DOCKER_ENV", "development, test, staging, production"},
		{"BERTH_RUNTIME=process DOCKER_ENV=production", "BERTH_RUNTIME", "contradicts DOCKER_ENV"},
		{"BERTH_RUNTIME=podman", "BERTH_RUNTIME", "docker, process"},
		{"BERTH_PROFILE=vim", "BERTH_PROFILE", "opencode"},
		{"DOCKER_OPERATION_TIMEOUT=5", "DOCKER_OPERATION_TIMEOUT", "contradicts SESSION_STOP_TIMEOUT=10s"},
		{"DOCKER_NETWORK=host", "DOCKER_NETWORK", "not host"},
		{"DOCKER_NETWORK=-x", "DOCKER_NETWORK", "letters"},
		{"DOCKER_MAX_OPERATIONS=-1", "DOCKER_MAX_OPERATIONS", "between 0"},
		{"SESSION_PUBLISH_IP=localhost", "SESSION_PUBLISH_IP", "IP address"},
		{"SESSION_START_TIMEOUT=0", "SESSION_START_TIMEOUT", "between 1s and 1h"},
		{"CONTAINER_MEMORY_LIMIT=256m", "CONTAINER_MEMORY_LIMIT", "at least 512m"},
		{"CONTAINER_MEMORY_LIMIT=0", "CONTAINER_MEMORY_LIMIT", "above 0"},
		{"CONTAINER_CPU_QUOTA=0", "CONTAINER_CPU_QUOTA", "between 1000"},
		{"CONTAINER_CPU_PERIOD=2000000", "CONTAINER_CPU_PERIOD", "1000000"},
		{"CONTAINER_PIDS_LIMIT=-1", "CONTAINER_PIDS_LIMIT", "between 64"},
		{"MAX_CONCURRENT_SESSIONS=0", "MAX_CONCURRENT_SESSIONS", "between 1"},
		{"MEMORY_WARNING_THRESHOLD=80", "MEMORY_WARNING_THRESHOLD", "a fraction above 0 and below RESOURCE_CRITICAL_THRESHOLD=0.95"},
		{"MEMORY_WARNING_THRESHOLD=0", "MEMORY_WARNING_THRESHOLD", "above 0"},
		{"CPU_WARNING_THRESHOLD=0.95", "CPU_WARNING_THRESHOLD", "below RESOURCE_CRITICAL_THRESHOLD=0.95"},
		{"CPU_WARNING_THRESHOLD=NaN", "CPU_WARNING_THRESHOLD", "a fraction"},
		{"RESOURCE_CRITICAL_THRESHOLD=1.1", "RESOURCE_CRITICAL_THRESHOLD", "at most 1"},
		{"RESOURCE_CRITICAL_THRESHOLD=NaN", "RESOURCE_CRITICAL_THRESHOLD", "at most 1"},
		{"SESSION_TOKEN_LENGTH=8", "SESSION_TOKEN_LENGTH", "between 22"},
		{"SESSION_TOKEN_EXPIRY_HOURS=0", "SESSION_TOKEN_EXPIRY_HOURS", "between 1"},
		{"SESSION_TOKEN_SECRET=hunter2", "SESSION_TOKEN_SECRET", "at least 32"},
		{"PROXY_MAX_BODY_SIZE=0", "PROXY_MAX_BODY_SIZE", "between 1k"},
		{"HTTP_MAX_KEEPALIVE_CONNECTIONS=200", "HTTP_MAX_KEEPALIVE_CONNECTIONS", "contradicts HTTP_MAX_CONNECTIONS=100"},
		{"LOG_FORMAT=xml", "LOG_FORMAT", "json, human, auto"},
		{"LOG_CONSOLE=false", "LOG_CONSOLE", "nothing would be logged"},
		{"LOG_MAX_SIZE_MB=0", "LOG_MAX_SIZE_MB", "between 1"},
		{"LOG_BACKUP_COUNT=0", "LOG_BACKUP_COUNT", "between 1"},
	} {
		t.Run(tc.environ, func(t *testing.T) {
			t.Parallel()
			environ := strings.Split(tc.environ, " ")
			if strings.Contains(tc.environ, "spaces") {
				environ = []string{tc.environ}
			}
			got := faults(t, Options{Environ: environ})
			if f, ok := got[tc.variable]; !ok || !strings.Contains(f.Problem, tc.problem) {
				t.Errorf("got faults %v, want one of %s with %q", got, tc.variable, tc.problem)
			}
			if len(got) != 1 {
				t.Errorf("got %d faults, want 1: %v", len(got), got)
			}
		})
	}
}

func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Load(Options{
		Environ:   []string{home, "LOG_LEVEL=LOUD", "DOCKER_TLS_PORT=x", "LOG_FORMAT=xml", "MAX_CONCURRENT_SESSIONS=0"},
		Overrides: map[string]string{"NO_SUCH": "x"},
	})
	if err == nil {
		t.Fatal("got no error")
	}
	want := `configuration has 5 faults:
  LOG_LEVEL="LOUD": must be DEBUG, INFO, WARNING, ERROR or CRITICAL`
	for _, part := range []string{want, `DOCKER_TLS_PORT="x"`, `LOG_FORMAT="xml"`, `MAX_CONCURRENT_SESSIONS="0"`, "NO_SUCH:"} {
		if part != want && !strings.Contains(err.Error(), part) {
			t.Errorf("message lacks %q:\n%s", part, err)
		}
	}
	if !strings.HasPrefix(err.Error(), "configuration has 5 faults:\n") || !strings.Contains(err.Error(), strings.SplitN(want, "\n", 2)[1]) {
		t.Errorf("got message:\n%s\nwant it to begin like:\n%s", err, want)
	}
}

func TestSecretsDoNotAppearInFaultsOrPrints(t *testing.T) {
	t.Parallel()
	const secret = "hunter2 with space"
	cfg, err := Load(Options{Environ: []string{home, "SESSION_TOKEN_SECRET=" + secret, "BERTH_ADMIN_TOKEN=" + secret}})
	prints := []string{err.Error()}
	for _, format := range []string{"%v", "%+v", "%#v", "%q", "%x"} {
		prints = append(prints, fmt.Sprintf(format, cfg))
	}
	for _, text := range prints {
		if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("a secret shows: %s", text)
		}
	}
	if !strings.Contains(err.Error(), `SESSION_TOKEN_SECRET="[redacted]"`) {
		t.Errorf("got %v, want the fault of the secret without its value", err)
	}
}

func TestUnixSocketWithFlagGivesWarning(t *testing.T) {
	t.Parallel()
	cfg := load(t, Options{Environ: []string{"DOCKER_HOST=unix:///run/docker.sock"}, InsecureDockerSocket: true})
	if w := cfg.Warnings(); len(w) != 1 || !strings.Contains(w[0], "DOCKER_HOST") {
		t.Errorf("got warnings %q, want one of DOCKER_HOST", w)
	}
}

func TestPinsAcceptHexadecimal(t *testing.T) {
	t.Parallel()
	digits := strings.Repeat("0f", 32)
	load(t, Options{Environ: []string{"DOCKER_TLS_PIN=" + digits + ", sha256:" + strings.ToUpper(digits)}})
}

func TestWeakSettingsGiveWarnings(t *testing.T) {
	t.Parallel()
	if w := load(t, Options{}).Warnings(); len(w) != 0 {
		t.Errorf("defaults: got warnings %q, want none", w)
	}
	for environ, word := range map[string]string{
		"DOCKER_TLS_VERIFY=0":        "DOCKER_TLS_VERIFY",
		"BERTH_RUNTIME=process":      "process runtime",
		"BERTH_LISTEN=:8080":         "BERTH_LISTEN",
		"BERTH_LISTEN=10.0.0.1:8080": "BERTH_LISTEN",
		"SESSION_PUBLISH_IP=0.0.0.0": "SESSION_PUBLISH_IP",
		"SESSION_PUBLISH_IP=::":      "SESSION_PUBLISH_IP",
	} {
		if w := load(t, Options{Environ: []string{environ}}).Warnings(); len(w) != 1 || !strings.Contains(w[0], word) {
			t.Errorf("%s: got warnings %q, want one with %q", environ, w, word)
		}
	}
	for _, fine := range []string{"BERTH_LISTEN=localhost:1", "BERTH_LISTEN=[::1]:0", "SESSION_PUBLISH_IP=127.0.0.1"} {
		if w := load(t, Options{Environ: []string{fine}}).Warnings(); len(w) != 0 {
			t.Errorf("%s: got warnings %q, want none", fine, w)
		}
	}
}

func TestFaultsNameVariablesThatExist(t *testing.T) {
	t.Parallel()
	// The zero value violates nearly every rule; the reported names must be in the documentation.
	err := Config{}.Validate()
	known := Variables()
	for line := range strings.Lines(err.Error()) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		name, _, _ = strings.Cut(name, ":")
		if strings.HasPrefix(line, "  ") && !slices.Contains(known, name) {
			t.Errorf("fault names %q, which is not a setting", name)
		}
	}
	if got := len(strings.Split(err.Error(), "\n")); got < 25 {
		t.Errorf("the zero value has %d faults, want most settings to have a rule:\n%v", got, err)
	}
}
