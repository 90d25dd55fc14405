package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/internal/config"
)

func TestMisspeltVariableGivesWarning(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(config.Options{Environ: []string{
		"HOME=/home/alice",
		"BERTH_LISTN=127.0.0.1:1", "BERTH_PORT_8080_TCP=tcp://10.0.0.1:8080", "CONTAINER_MEMORY_LIMITS=1g", "MAX_CONCURENT_SESSION=3",
		"SESSION_IDLE_TIMEOUT=3", "TRUSTED_PROXY=10.0.0.1", "CONTAINER_MEM_LIMIT=1g",
		"LOG_LEVEL=INFO", "BERTH_URL=http://127.0.0.1:8080", "DOCKER_CONTEXT=default", "BERTH_TEST_DOCKERD=/usr/sbin/dockerd", // known
		"DAY=1", "PATH=/bin", "DB_NAMES=x", "KUBERNETES_SERVICE_HOST=10.0.0.1", "LANG=C.UTF-8", // too different, or of other programs
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"BERTH_LISTN is not a setting: do you mean BERTH_LISTEN?",
		`BERTH_PORT_8080_TCP is not a setting: it has no effect; "berth config docs" lists those that have one`,
		"CONTAINER_MEMORY_LIMITS is not a setting: do you mean CONTAINER_MEMORY_LIMIT?",
		"CONTAINER_MEM_LIMIT is not a setting: do you mean CONTAINER_MEMORY_LIMIT?",
		"DB_NAMES is not a setting: do you mean DB_NAME?",
		"MAX_CONCURENT_SESSION is not a setting: do you mean MAX_CONCURRENT_SESSIONS?",
		"SESSION_IDLE_TIMEOUT is not a setting: do you mean SESSION_IDLE_TIMEOUT_MINUTES?",
		"TRUSTED_PROXY is not a setting: do you mean TRUSTED_PROXIES?",
	}
	if diff := cmp.Diff(want, cfg.Warnings()); diff != "" {
		t.Error(diff)
	}
}
