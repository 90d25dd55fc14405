package config

import (
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGeneratedDocumentationIsCurrent(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(io.Writer) error{"docs/configuration.md": WriteDocs, "docker/.env.example": WriteExample} {
		var want bytes.Buffer
		if err := write(&want); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want.String(), string(got)); d != "" {
			t.Errorf("%s is stale, run go generate ./internal/config (-want +got):\n%s", name, d)
		}
	}
}

// TestExampleHasEveryVariableWithItsDefault compares the example with the documentation, and loads it.
func TestExampleHasEveryVariableWithItsDefault(t *testing.T) {
	t.Parallel()
	var docs, example bytes.Buffer
	if err := errors.Join(WriteDocs(&docs), WriteExample(&example)); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for line := range strings.Lines(example.String()) {
		name, value, found := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "#"), "=")
		if found && !strings.HasPrefix(line, "# ") {
			values[name] = value
		}
	}
	environ, documented := []string{}, 0
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|").FindAllStringSubmatch(docs.String(), -1) {
		documented++
		value, found := values[row[1]]
		if !found {
			t.Errorf("%s is documented and not in the example", row[1])
		}
		environ = append(environ, row[1]+"="+value)
	}
	if documented < len(Variables()) {
		t.Fatalf("found %d variables in the documentation", documented)
	}
	cfg, err := Load(Options{Environ: append(environ, "HOME="+t.TempDir())})
	if err != nil || len(cfg.Unknown) > 0 {
		t.Errorf("with every # removed: %v, unknown %q", err, cfg.Unknown)
	}
	if strings.Contains(example.String(), "berth.env") {
		t.Error("the example names a file that no command reads")
	}
}

func TestEverySettingIsDocumented(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := WriteDocs(&b); err != nil {
		t.Fatal(err)
	}
	for _, name := range Variables() {
		_, row, found := strings.Cut(b.String(), "| `"+name+"` |")
		row, _, _ = strings.Cut(row, "\n")
		cells := strings.Split(row, " | ")
		if !found || len(cells) < 3 || len(strings.Trim(cells[len(cells)-1], " |")) < 20 {
			t.Errorf("%s has no description in the documentation: %q", name, row)
		}
	}
}

// TestContractNamesAndDefaults checks the names and defaults of the contract.
func TestContractNamesAndDefaults(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := WriteDocs(&b); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "./docker/certs", "DOCKER_HOST": "tcp://host.docker.internal:2376",
		"DOCKER_TLS_PORT": "2376", "DOCKER_CA_CERT": "./docker/certs/ca.pem", "DOCKER_CLIENT_CERT": "./docker/certs/client-cert.pem",
		"DOCKER_CLIENT_KEY": "./docker/certs/client-key.pem", "DOCKER_HOST_IP": "host.docker.internal", "DOCKER_ENV": "development",
		"USE_ASYNC_DOCKER": "true", "LOG_LEVEL": "INFO", "LOG_FORMAT": "auto", "LOG_FILE": "/var/log/lovdata-chat.log",
		"LOG_MAX_SIZE_MB": "10", "LOG_BACKUP_COUNT": "5", "LOG_CONSOLE": "true", "LOG_FILE_ENABLED": "false",
		"SESSION_TOKEN_LENGTH": "32", "SESSION_TOKEN_EXPIRY_HOURS": "24", "SESSION_TOKEN_SECRET": "auto",
		"CONTAINER_MEMORY_LIMIT": "4g", "CONTAINER_CPU_QUOTA": "100000", "CONTAINER_CPU_PERIOD": "100000", "MAX_CONCURRENT_SESSIONS": "3",
		"MEMORY_WARNING_THRESHOLD": "0.8", "CPU_WARNING_THRESHOLD": "0.9", "RESOURCE_CRITICAL_THRESHOLD": "0.95",
		"HTTP_MAX_KEEPALIVE_CONNECTIONS": "20", "HTTP_MAX_CONNECTIONS": "100", "HTTP_KEEPALIVE_EXPIRY": "5m",
		"HTTP_CONNECT_TIMEOUT": "10s", "HTTP_READ_TIMEOUT": "30s",
	} {
		_, row, found := strings.Cut(b.String(), "| `"+name+"` |")
		cells := strings.SplitN(row, " | ", 3)
		if !found || len(cells) < 3 || cells[1] != "`"+want+"`" {
			t.Errorf("%s: documented default is not %q: %.80q", name, want, row)
		}
	}
}
