package runtimetest_test

import (
	"testing"

	"go.uber.org/goleak"

	"berth/internal/access"
	"berth/internal/runtimetest"
	"berth/internal/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// spec returns what a test needs of a session's specification.
func spec(name string) session.Spec {
	return session.Spec{
		Session: session.NewID(), Name: name, Image: "berth/stub:test", Credential: access.NewToken(24),
		Limits: session.Limits{Memory: 512 << 20, CPUs: session.OneCPU, Processes: 64},
		Profile: session.Profile{
			Image: "berth/stub:test", Port: 4096, UID: 10001, GID: 10001,
			Username: "opencode", PasswordEnv: "OPENCODE_SERVER_PASSWORD",
			Ready:   session.Probe{Path: "/global/health", Member: "healthy", Then: "/path"},
			Volumes: []session.Volume{{Name: "workspace", Path: "/workspace"}, {Name: "state", Path: "/state"}},
			Public:  []string{"/site.webmanifest"},
		},
	}
}

func TestRuntimeSuite(t *testing.T) {
	t.Parallel()
	runtimetest.Run(t, func(t *testing.T) runtimetest.Subject {
		fake := runtimetest.NewFake(runtimetest.Options{})
		t.Cleanup(fake.Close)
		return runtimetest.Subject{Runtime: fake, Spec: spec}
	})
}
