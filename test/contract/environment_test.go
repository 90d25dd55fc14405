package contract_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"berth/test/harness"
)

// setting is a variable, what it is by itself, and what another value makes of it.
type setting struct {
	variable string
	key      string // in the output of "berth config show"
	standard any    // nil: absent
	value    string // another one that is allowed
	becomes  any
	refused  string // a value that stops the start; "": every text is allowed
}

// environment has the variables of each row.
var environment = map[string][]setting{
	"C-ENV-01": {{"DOCKER_TLS_VERIFY", "docker.tls_verify", true, "0", false, "perhaps"}},
	"C-ENV-02": {{"DOCKER_CERT_PATH", "docker.cert_path", "./docker/certs", "/etc/docker/certs", "/etc/docker/certs", ""}},
	"C-ENV-03": {{"DOCKER_HOST", "docker.host", "tcp://host.docker.internal:2376", "tcp://10.0.0.5:2377", "tcp://10.0.0.5:2377", "unix:///var/run/docker.sock"}},
	"C-ENV-04": {{"DOCKER_TLS_PORT", "docker.tls_port", 2376.0, "2377", 2377.0, "70000"}},
	"C-ENV-05": {
		{"DOCKER_CA_CERT", "docker.ca_cert", "docker/certs/ca.pem", "/a/ca.pem", "/a/ca.pem", ""},
		{"DOCKER_CLIENT_CERT", "docker.client_cert", "docker/certs/client-cert.pem", "/a/c.pem", "/a/c.pem", ""},
		{"DOCKER_CLIENT_KEY", "docker.client_key", "docker/certs/client-key.pem", "/a/k.pem", "/a/k.pem", ""},
	},
	"C-ENV-06": {{"DOCKER_HOST_IP", "docker.host_ip", "host.docker.internal", "10.0.0.5", "10.0.0.5", ""}},
	"C-ENV-07": {{"DOCKER_ENV", "docker.env", "development", "production", "production", "party"}},
	"C-ENV-08": {{"USE_ASYNC_DOCKER", "docker.async", true, "false", false, "sometimes"}},
	"C-ENV-09": {
		{"HOST_IP", "docker.reached_at", "", "192.168.1.100", "192.168.1.100", "http://192.168.1.100"},
		{"DOCKER_HOST_GATEWAY", "docker.host_gateway", "", "gateway.internal", "gateway.internal", "10.0.0.1:80"},
		{"GATEWAY", "docker.gateway", "", "fd00::1", "fd00::1", "10.0.0"},
	},
	"C-ENV-10": {
		{"LOG_LEVEL", "log.level", "INFO", "CRITICAL", "CRITICAL", "LOUD"},
		{"LOG_FORMAT", "log.format", "auto", "human", "human", "verse"},
	},
	"C-ENV-11": {
		{"LOG_FILE", "log.file", "/var/log/lovdata-chat.log", "/tmp/x.log", "/tmp/x.log", ""},
		{"LOG_MAX_SIZE_MB", "log.max_size_mb", 10.0, "20", 20.0, "0"},
		{"LOG_BACKUP_COUNT", "log.backup_count", 5.0, "7", 7.0, "many"},
	},
	"C-ENV-12": {
		{"LOG_CONSOLE", "log.console", true, "true", true, "maybe"},
		{"LOG_FILE_ENABLED", "log.file_enabled", false, "true", true, "maybe"},
	},
	"C-ENV-13": {
		{"DB_HOST", "database.host", "localhost", "db.example", "db.example", ""},
		{"DB_PORT", "database.port", 5432.0, "5433", 5433.0, "0"},
		{"DB_USER", "database.user", "lovdata", "berth", "berth", ""},
		{"DB_PASSWORD", "database.password", nil, "a-password", "[redacted]", ""},
		{"DB_NAME", "database.name", "lovdata_chat", "berth", "berth", ""},
	},
	"C-ENV-14": {
		{"DB_MIN_CONNECTIONS", "database.min_connections", 5.0, "6", 6.0, "-1"},
		{"DB_MAX_CONNECTIONS", "database.max_connections", 20.0, "30", 30.0, "0"},
		{"DB_MAX_QUERIES", "database.max_queries", 50000.0, "1000", 1000.0, "none"},
		{"DB_MAX_INACTIVE_LIFETIME", "database.max_inactive_lifetime", "5m", "60.5", "1m0.5s", "soon"},
	},
	"C-ENV-15": {{"USE_DATABASE_STORAGE", "database.use", false, "true", true, "both"}},
	"C-ENV-16": {
		{"CONTAINER_HEALTH_CHECK_INTERVAL", "health.check_interval", "30s", "15", "15s", "-1"},
		{"CONTAINER_HEALTH_TIMEOUT", "health.timeout", "10s", "2.5", "2.5s", "0"},
	},
	"C-ENV-17": {
		{"CONTAINER_MAX_RESTART_ATTEMPTS", "health.max_restarts", 3.0, "5", 5.0, "-1"},
		{"CONTAINER_RESTART_DELAY", "health.restart_delay", "5s", "7", "7s", "never"},
		{"CONTAINER_FAILURE_THRESHOLD", "health.failure_threshold", 3.0, "2", 2.0, "0"},
	},
	"C-ENV-18": {
		{"SESSION_TOKEN_LENGTH", "token.length", 32.0, "48", 48.0, "8"},
		{"SESSION_TOKEN_EXPIRY_HOURS", "token.expiry_hours", 24.0, "12", 12.0, "0"},
		{"TOKEN_CLEANUP_INTERVAL_MINUTES", "token.cleanup_interval_minutes", 60.0, "15", 15.0, "-1"},
		{"SESSION_TOKEN_SECRET", "token.secret", "[redacted]", strings.Repeat("s", 40), "[redacted]", "short"},
	},
	"C-ENV-19": {
		{"CONTAINER_MEMORY_LIMIT", "limits.memory", "4g", "2g", "2g", "lots"},
		{"CONTAINER_CPU_QUOTA", "limits.cpu_quota", 100000.0, "50000", 50000.0, "1"},
		{"CONTAINER_CPU_PERIOD", "limits.cpu_period", 100000.0, "200000", 200000.0, "1"},
	},
	"C-ENV-20": {
		{"MAX_CONCURRENT_SESSIONS", "limits.max_sessions", 3.0, "10", 10.0, "0"},
		{"MEMORY_WARNING_THRESHOLD", "limits.memory_warning", 0.8, "0.7", 0.7, "80"},
		{"CPU_WARNING_THRESHOLD", "limits.cpu_warning", 0.9, "0.5", 0.5, "-0.1"},
	},
	"C-ENV-21": {
		{"HTTP_MAX_KEEPALIVE_CONNECTIONS", "http_pool.max_keepalive_connections", 20.0, "10", 10.0, "0"},
		{"HTTP_MAX_CONNECTIONS", "http_pool.max_connections", 100.0, "200", 200.0, "0"},
		{"HTTP_KEEPALIVE_EXPIRY", "http_pool.keepalive_expiry", "5m", "60.0", "1m", "0"},
		{"HTTP_CONNECT_TIMEOUT", "http_pool.connect_timeout", "10s", "5.5", "5.5s", "NaN"},
		{"HTTP_READ_TIMEOUT", "http_pool.read_timeout", "30s", "45", "45s", "0"},
	},
}

// elsewhere are variables that rows name and other commands than serve read.
var elsewhere = []string{"DOCKER_HOST_NAME", "DAYS"}

// holds checks the settings of a row: that they are those that it names, their defaults, and that a value is taken or
// refused by name and never becomes the default in silence.
func holds(t *testing.T, r row, settings []setting) {
	t.Helper()
	named := map[string]bool{}
	for _, word := range strings.Fields(strings.ReplaceAll(r.cells[0], "`", "")) {
		named[word] = true
	}
	for _, name := range elsewhere {
		delete(named, name)
	}
	for _, s := range settings {
		if !named[s.variable] {
			t.Errorf("%s is not in the row %q", s.variable, r.cells[0])
		}
		delete(named, s.variable)
		if got := shown(t, nil, s.key); got != s.standard {
			t.Errorf("%s by itself: got %v, want %v", s.variable, got, s.standard)
		}
		if got := shown(t, map[string]string{s.variable: s.value}, s.key); got != s.becomes {
			t.Errorf("%s=%s: got %v, want %v", s.variable, s.value, got, s.becomes)
		}
		if s.refused == "" {
			continue
		}
		c := harness.Command(t, map[string]string{s.variable: s.refused}, "config", "check")
		if c.Exit != 2 || !strings.Contains(c.Stderr, s.variable) {
			t.Errorf("%s=%s: got exit code %d, want 2 and a message that names it\n%s", s.variable, s.refused, c.Exit, c.Stderr)
		}
		if s := harness.Command(t, map[string]string{s.variable: s.refused}, "serve"); s.Exit != 2 {
			t.Errorf("serve with the same: got exit code %d, want 2\n%s", s.Exit, s.Stderr)
		}
	}
	for name := range named {
		t.Errorf("the row names %s, which nothing shows", name)
	}
}

// shown is one member of the settings that apply; nil when it is absent.
func shown(t *testing.T, env map[string]string, key string) any {
	t.Helper()
	c := harness.Command(t, env, "config", "show", "--output", "json")
	var at any
	if err := json.Unmarshal([]byte(c.Stdout), &at); err != nil {
		t.Fatalf("berth config show: %v\n%s%s", err, c.Stdout, c.Stderr)
	}
	for name := range strings.SplitSeq(key, ".") {
		members, _ := at.(map[string]any)
		at = members[name]
	}
	return at
}

func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	env, names := map[string]string{}, []string{}
	for _, settings := range environment {
		for _, s := range settings {
			if s.refused != "" {
				env[s.variable] = s.refused
				names = append(names, s.variable)
			}
		}
	}
	c := harness.Command(t, env, "serve")
	missing := slices.DeleteFunc(names, func(name string) bool { return strings.Contains(c.Stderr, name) })
	if c.Exit != 2 || len(missing) > 0 {
		t.Errorf("got exit code %d and nothing about %v, want 2 and every fault in one message\n%s", c.Exit, missing, c.Stderr)
	}
}

func TestUnverifiedEngineIsWarnedOfAndRefusedInProduction(t *testing.T) {
	t.Parallel()
	weak := map[string]string{"DOCKER_TLS_VERIFY": "0"}
	if c := harness.Command(t, weak, "config", "check", "--no-files"); c.Exit != 0 || !strings.Contains(c.Stderr, "warning") || !strings.Contains(c.Stderr, "DOCKER_TLS_VERIFY") {
		t.Errorf("elsewhere: got exit code %d and %q, want a warning", c.Exit, c.Stderr)
	}
	weak["DOCKER_ENV"] = "production"
	if c := harness.Command(t, weak, "serve"); c.Exit != 2 || !strings.Contains(c.Stderr, "DOCKER_TLS_VERIFY") {
		t.Errorf("in production: got exit code %d and %q, want a refusal", c.Exit, c.Stderr)
	}
}

func TestEngineIsMadeOfHostAndPort(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DOCKER_HOST_IP": "10.0.0.5", "DOCKER_TLS_PORT": "2377"}
	if got := shown(t, env, "docker.host"); got != "tcp://10.0.0.5:2377" {
		t.Errorf("got %v, want tcp://10.0.0.5:2377", got)
	}
	env["DOCKER_HOST"] = "tcp://engine:2376"
	if got := shown(t, env, "docker.host"); got != "tcp://engine:2376" {
		t.Errorf("with DOCKER_HOST: got %v, want that", got)
	}
	for name, file := range map[string]string{"ca_cert": "ca.pem", "client_cert": "client-cert.pem", "client_key": "client-key.pem"} {
		if got, want := shown(t, map[string]string{"DOCKER_CERT_PATH": "/c"}, "docker."+name), "/c/"+file; got != want {
			t.Errorf("%s: got %v, want %s", name, got, want)
		}
	}
}
