package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/moby/moby/api/types/container"

	"berth/internal/pressure"
	"berth/internal/servertls"
	"berth/internal/storage"
)

func TestResourceLimits(t *testing.T) {
	t.Parallel()
	checkCases{
		"no sessions": {nil, []string{"pass limits-configured", "skipped no-sessions"}},
		"no engine":   {noEngine, []string{"pass limits-configured", "skipped engine-not-reached"}},
		"not set": {
			func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Limits.Memory = 0 },
			[]string{"fail limits-missing", "skipped no-sessions"},
		},
		"good": {
			func(_ *testing.T, _ *Options, e *fakeEngine) { e.run("a", limited(64<<20, 100_000, 100)) },
			[]string{"pass limits-configured", "pass limits-enforced"},
		},
		"not enforced": {
			func(_ *testing.T, _ *Options, e *fakeEngine) { e.run("a", limited(0, 0, 0)) },
			[]string{"pass limits-configured", "fail limit-not-enforced", "fail limit-not-enforced", "fail limit-not-enforced"},
		},
		"swap": {
			func(_ *testing.T, _ *Options, e *fakeEngine) {
				h := limited(1<<30, 100_000, 100)
				h.MemorySwap = -1
				e.run("a", h)
			}, []string{"pass limits-configured", "fail limit-not-enforced"},
		},
		"above the settings": {
			func(_ *testing.T, _ *Options, e *fakeEngine) { e.run("a", limited(64<<30, 100_000, 100)) },
			[]string{"pass limits-configured", "warn limit-above-settings"},
		},
	}.run(t, "resource-limits")
}

func TestSessionThrottling(t *testing.T) {
	t.Parallel()
	checkCases{
		"good":        {nil, []string{"pass sessions-bounded"}},
		"not bounded": {func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Limits.MaxSessions = 0 }, []string{"fail sessions-unbounded"}},
		"however busy": {
			func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Limits.Critical = 1 },
			[]string{"pass sessions-bounded", "warn pressure-ignored"},
		},
		"overcommitted": {
			func(_ *testing.T, _ *Options, e *fakeEngine) { e.info.MemTotal = 1 << 30 },
			[]string{"pass sessions-bounded", "warn memory-overcommitted"},
		},
		"too many": {func(_ *testing.T, o *Options, e *fakeEngine) {
			o.Config.Limits.MaxSessions = 1
			e.run("a", nil)
			e.run("b", nil)
		}, []string{"pass sessions-bounded", "warn more-sessions-than-settings"}},
	}.run(t, "session-throttling")
}

func TestResourceMonitoring(t *testing.T) {
	t.Parallel()
	checkCases{
		"good": {func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Server.Listen = "0.0.0.0:" + port(serve(t, func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/livez":
				case "/openapi.json":
					_, _ = io.WriteString(w, `{"paths":{"/metrics":{"get":{}}}}`)
				default:
					t.Errorf("asked for %s, which is refused and recorded without a token", r.URL.Path)
				}
			}))
		}, []string{"pass controllers-active", "pass host-measured", "pass metrics-served"}},
		"good, by TLS": {func(t *testing.T, o *Options, _ *fakeEngine) {
			s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, `{"paths":{"/metrics":{"get":{}}}}`)
			}))
			t.Cleanup(s.Close)
			o.Config.Server.Listen, o.Config.Server.StateDir = s.Listener.Addr().String(), t.TempDir()
			o.Config.Server.TLSCert, o.Config.Server.TLSKey = "/listener.pem", "/listener-key.pem"
			if err := storage.Dir(o.Config.Server.StateDir).PublishCertificates(servertls.Encode([]*x509.Certificate{s.Certificate()})); err != nil {
				t.Fatal(err)
			}
		}, []string{"pass controllers-active", "pass host-measured", "pass metrics-served"}},
		"no metrics": {func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Server.Listen = "127.0.0.1:" + port(serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/livez" {
					w.WriteHeader(http.StatusNotFound)
				}
			}))
		}, []string{"pass controllers-active", "pass host-measured", "warn no-metrics"}},
		"not serving": {nil, []string{"pass controllers-active", "pass host-measured", "skipped not-serving"}},
		"busy":        {loaded(0.81, 0.1, nil), []string{"pass controllers-active", "warn host-busy", "skipped not-serving"}},
		"busy CPUs":   {loaded(0.1, 0.91, nil), []string{"pass controllers-active", "warn host-busy", "skipped not-serving"}},
		"critical":    {loaded(0.1, 0.95, nil), []string{"pass controllers-active", "warn host-critical", "skipped not-serving"}},
		"blind":       {loaded(0, 0, errors.New("no /proc")), []string{"pass controllers-active", "fail host-not-measured", "skipped not-serving"}},
		"no controller": {
			func(_ *testing.T, _ *Options, e *fakeEngine) { e.info.PidsLimit = false },
			[]string{"fail controller-missing", "pass host-measured", "skipped not-serving"},
		},
	}.run(t, "resource-monitoring")
}

func limited(memory, quota, pids int64) *container.HostConfig {
	h := &container.HostConfig{LogConfig: container.LogConfig{Type: "local"}}
	h.Memory, h.MemorySwap, h.CPUQuota, h.CPUPeriod = memory, memory, quota, 100_000
	if pids > 0 {
		h.PidsLimit = &pids
	}
	return h
}

// loaded is a machine that is so busy, or cannot be looked at.
func loaded(memory, cpu float64, err error) func(*testing.T, *Options, *fakeEngine) {
	return func(_ *testing.T, o *Options, _ *fakeEngine) {
		o.Load = func(context.Context) (pressure.Sample, error) { return pressure.Sample{Memory: memory, CPU: cpu}, err }
	}
}
