package doctor

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/registry"

	"berth/internal/config"
	"berth/internal/hostip"
	"berth/internal/pki"
	"berth/internal/pressure"
)

func limited(memory, quota, pids int64) *container.HostConfig {
	h := &container.HostConfig{LogConfig: container.LogConfig{Type: "local"}}
	h.Memory, h.MemorySwap, h.CPUQuota, h.CPUPeriod = memory, memory, quota, 100_000
	if pids > 0 {
		h.PidsLimit = &pids
	}
	return h
}

// serve starts an HTTP server that answers like this, and returns its port.
func serve(t *testing.T, handler http.HandlerFunc) uint16 {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String()).Port()
}

func silentPort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

func published(ip string, port uint16) container.PortSummary {
	return container.PortSummary{IP: netip.MustParseAddr(ip), PublicPort: port, PrivatePort: 4096, Type: "tcp"}
}

func listening1(address string) func() ([]netip.AddrPort, error) {
	return func() ([]netip.AddrPort, error) { return []netip.AddrPort{netip.MustParseAddrPort(address)}, nil }
}

// TestChecksPassAndFail has a good and at least one bad world for each check.
func TestChecksPassAndFail(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	type change = func(t *testing.T, o *Options, e *fakeEngine)
	process := func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Session.Runtime = config.RuntimeProcess }
	noEngine := func(_ *testing.T, o *Options, _ *fakeEngine) {
		o.Engine, o.EngineErr = nil, errors.New("no certificate")
	}
	for name, tc := range map[string]struct {
		check  string
		change change // nil: the good world
		want   []string
	}{
		"strength, good":    {"certificate-strength", nil, []string{"pass strong"}},
		"strength, process": {"certificate-strength", process, []string{"skipped no-engine-used"}},
		"strength, weak": {"certificate-strength", func(t *testing.T, o *Options, _ *fakeEngine) {
			writeCertificate(t, o.Config.Docker.ClientCert, certificate{rsaBits: 1024, days: 90})
		}, []string{"fail weak-key"}},
		"strength, short": {"certificate-strength", func(t *testing.T, o *Options, _ *fakeEngine) {
			writeCertificate(t, o.Config.Docker.ClientCert, certificate{rsaBits: 2048, days: 90})
		}, []string{"warn short-key"}},
		"strength, P-224": {"certificate-strength", func(t *testing.T, o *Options, _ *fakeEngine) {
			writeCertificate(t, o.Config.Docker.ClientCert, certificate{p224: true, days: 90})
		}, []string{"fail weak-key"}},
		"strength, long life": {"certificate-strength", func(t *testing.T, o *Options, _ *fakeEngine) {
			writeCertificate(t, o.Config.Docker.ClientCert, certificate{days: 3650})
		}, []string{"warn long-life"}},
		"strength, expired": {"certificate-strength", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Now = func() time.Time { return time.Now().AddDate(0, 0, 91) }
		}, []string{"fail expired", "fail expired"}},
		"strength, early": {"certificate-strength", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Now = func() time.Time { return time.Now().AddDate(0, 0, -1) }
		}, []string{"fail not-yet-valid", "fail not-yet-valid", "fail not-yet-valid"}},
		"strength, missing": {"certificate-strength", func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.CACert = filepath.Join(t.TempDir(), "ca.pem")
		}, []string{"fail certificate-missing"}},
		"strength, malformed": {"certificate-strength", func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.CACert = filepath.Join(t.TempDir(), "ca.pem")
			write(t, o.Config.Docker.CACert, "nonsense")
		}, []string{"fail certificate-unreadable"}},

		"permissions, good":         {"certificate-permissions", nil, []string{"pass protected"}},
		"permissions, process":      {"certificate-permissions", process, []string{"skipped no-engine-used"}},
		"permissions, open key":     {"certificate-permissions", mode(pki.ClientKeyFile, 0o440), []string{"fail key-open"}},
		"permissions, writable key": {"certificate-permissions", mode(pki.ServerKeyFile, 0o600), []string{"warn mode-differs"}},
		"permissions, writable":     {"certificate-permissions", mode(pki.CACertFile, 0o664), []string{"fail certificate-writable"}},
		"permissions, other mode":   {"certificate-permissions", mode(pki.CACertFile, 0o644), []string{"warn mode-differs"}},
		"permissions, open dir":     {"certificate-permissions", mode(".", 0o755), []string{"warn directory-open"}},
		"permissions, writable dir": {"certificate-permissions", mode(".", 0o777), []string{"fail directory-writable"}},
		"permissions, credentials": {"certificate-permissions", func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Credentials = o.Config.Docker.CertPath
			for name, m := range map[string]fs.FileMode{pki.CACertFile: 0o400, pki.ClientCertFile: 0o440, pki.ClientKeyFile: 0o440, ".": 0o550} {
				mode(name, m)(t, o, nil)
			}
		}, []string{"pass protected"}},
		"permissions, open credentials": {"certificate-permissions", func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Credentials = o.Config.Docker.CertPath
			mode(pki.ClientKeyFile, 0o444)(t, o, nil)
			mode(pki.CACertFile, 0o464)(t, o, nil)
		}, []string{"fail certificate-writable", "fail key-open"}},
		"permissions, credentials elsewhere": {"certificate-permissions", func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Credentials = t.TempDir()
			mode(pki.CACertFile, 0o400)(t, o, nil)
		}, []string{"warn mode-differs"}},
		"permissions, no dir": {"certificate-permissions", func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.CertPath = filepath.Join(t.TempDir(), "none")
		}, []string{"fail directory-unreadable"}},
		"permissions, no key": {"certificate-permissions", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.ClientKey = filepath.Join(o.Config.Docker.CertPath, "none.pem")
		}, []string{"fail file-unreadable"}},

		"sockets, good": {"socket-mounts", func(t *testing.T, o *Options, _ *fakeEngine) {
			write(t, filepath.Join(o.ComposePaths[0], "compose.yaml"), "services: {a: {volumes: ['./data:/data']}}\n")
		}, []string{"pass compose-clean", "pass containers-clean"}},
		"sockets, nothing there": {"socket-mounts", nil, []string{"skipped no-compose-file", "pass containers-clean"}},
		"sockets, in a compose file": {"socket-mounts", func(t *testing.T, o *Options, _ *fakeEngine) {
			write(t, filepath.Join(o.ComposePaths[0], "docker-compose.prod.yml"), "services:\n  a:\n    volumes:\n      - /var/run/docker.sock:/var/run/docker.sock\n")
		}, []string{"fail socket-in-compose", "pass containers-clean"}},
		"sockets, by a relative way": {"socket-mounts", func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Sockets = []string{"unix://" + filepath.Join(o.ComposePaths[0], "run", "engine.sock")}
			write(t, filepath.Join(o.ComposePaths[0], "compose.yaml"), "services: {a: {volumes: ['./run:/x']}}\n")
		}, []string{"fail socket-in-compose", "pass containers-clean"}},
		"sockets, broken file": {"socket-mounts", func(t *testing.T, o *Options, _ *fakeEngine) {
			write(t, filepath.Join(o.ComposePaths[0], "compose.yaml"), "services: [\n")
		}, []string{"warn compose-unreadable", "pass containers-clean"}},
		"sockets, missing file": {"socket-mounts", func(t *testing.T, o *Options, _ *fakeEngine) {
			o.ComposePaths = []string{filepath.Join(t.TempDir(), "none.yaml")}
		}, []string{"warn compose-unreadable", "pass containers-clean"}},
		"sockets, in a container": {"socket-mounts", func(_ *testing.T, _ *Options, e *fakeEngine) {
			e.containers = []container.Summary{{ID: "1", Mounts: []container.MountPoint{{Source: "/run/docker.sock", Destination: "/x"}}}}
		}, []string{"skipped no-compose-file", "fail socket-in-container"}},
		"sockets, the whole host": {"socket-mounts", func(_ *testing.T, _ *Options, e *fakeEngine) {
			e.containers = []container.Summary{{ID: "1", Mounts: []container.MountPoint{{Source: "/", Destination: "/host"}}}}
		}, []string{"skipped no-compose-file", "fail socket-in-container"}},
		"sockets, no engine": {"socket-mounts", noEngine, []string{"skipped no-compose-file", "skipped engine-not-reached"}},
		"sockets, engine away": {
			"socket-mounts", func(_ *testing.T, _ *Options, e *fakeEngine) { e.err = errors.New("away") },
			[]string{"skipped no-compose-file", "skipped engine-not-reached"},
		},

		"environment, good": {"environment", nil, []string{"pass settings-usable"}},
		"environment, faulty": {"environment", func(_ *testing.T, o *Options, _ *fakeEngine) {
			_, o.ConfigErr = config.Load(config.Options{Environ: []string{"BERTH_STATE_DIR=/x", "MAX_CONCURRENT_SESSIONS=0", "LOG_LEVEL=LOUD"}})
		}, []string{"fail setting-faulty", "fail setting-faulty"}},
		"environment, other error": {"environment", func(_ *testing.T, o *Options, _ *fakeEngine) { o.ConfigErr = errors.New("x") }, []string{"fail setting-faulty"}},
		"environment, weak":        {"environment", func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Docker.TLSVerify = false }, []string{"warn setting-weak"}},

		"connection, refused": {"tls-connection", func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host = "tcp://" + net.JoinHostPort("127.0.0.1", port(silentPort(t)))
		}, []string{"fail connection-refused"}},
		"connection, socket":   {"tls-connection", func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Docker.Host = "unix:///run/docker.sock" }, []string{"fail local-socket"}},
		"connection, nonsense": {"tls-connection", func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Docker.Host = "engine" }, []string{"fail setting-faulty"}},
		"connection, process":  {"tls-connection", process, []string{"skipped no-engine-used"}},

		"host, good":  {"host-ip", nil, []string{"pass host-known"}},
		"host, local": {"host-ip", func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Docker.Host = "unix:///run/docker.sock" }, []string{"pass local"}},
		"host, unknown": {"host-ip", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host = "tcp://host.docker.internal:2376"
			o.LookupHost = func(context.Context, string) ([]string, error) { return nil, &net.DNSError{IsNotFound: true} }
		}, []string{"fail host-unknown"}},
		"host, remote": {"host-ip", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host = "tcp://engine:2376"
			o.LookupHost = func(context.Context, string) ([]string, error) { return []string{"10.9.9.9"}, nil }
		}, []string{"pass host-known"}},
		"host, remote and on its loopback": {"host-ip", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host, o.Config.Session.PublishIP = "tcp://10.9.9.9:2376", "127.0.0.1"
			o.DetectHost = func(context.Context, uint16, func(context.Context, netip.AddrPort) error) (hostip.Result, error) {
				return hostip.Result{}, hostip.ErrNotDetected
			}
		}, []string{"fail host-not-detected"}},
		"host, remote, on its loopback, and found": {"host-ip", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host, o.Config.Session.PublishIP = "tcp://10.9.9.9:2377", "127.0.0.1"
			o.DetectHost = func(_ context.Context, port uint16, _ func(context.Context, netip.AddrPort) error) (hostip.Result, error) {
				if port != 2377 {
					return hostip.Result{}, hostip.ErrNotDetected
				}
				return hostip.Result{Addr: netip.MustParseAddr("10.9.9.9"), Source: hostip.DockerName}, nil
			}
		}, []string{"pass host-detected"}},
		"host, process": {"host-ip", process, []string{"skipped no-engine-used"}},

		"routing, no sessions": {"proxy-routing", nil, []string{"skipped no-sessions"}},
		"routing, no engine":   {"proxy-routing", noEngine, []string{"skipped engine-not-reached"}},
		"routing, good": {"proxy-routing", func(t *testing.T, _ *Options, e *fakeEngine) {
			p := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
			e.run("a", nil, published("127.0.0.1", p))
			e.run("b", nil, published("0.0.0.0", p))
		}, []string{"pass sessions-reached"}},
		"routing, unreachable": {"proxy-routing", func(t *testing.T, _ *Options, e *fakeEngine) {
			e.run("a", nil, published("127.0.0.1", silentPort(t)))
		}, []string{"fail session-unreachable"}},
		"routing, restarting, unhealthy, and one that answers": {"proxy-routing", func(t *testing.T, _ *Options, e *fakeEngine) {
			p := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
			for _, id := range []string{"restarting", "starting", "unhealthy"} {
				e.run(id, nil, published("127.0.0.1", silentPort(t)))
			}
			e.run("up", nil, published("127.0.0.1", p))
			e.containers[0].State = container.StateRestarting
			e.containers[1].State, e.containers[1].Status = container.StateRunning, "Up 2 seconds (health: starting)"
			e.containers[2].State, e.containers[2].Status = container.StateRunning, "Up 2 minutes (unhealthy)"
			e.containers[3].State, e.containers[3].Status = container.StateRunning, "Up 2 minutes (healthy)"
		}, []string{"skipped sessions-starting", "pass sessions-reached"}},
		"routing, just started or ended since": {"proxy-routing", func(t *testing.T, _ *Options, e *fakeEngine) {
			for id, state := range map[string]*container.State{
				"young": {Running: true, StartedAt: time.Now().Format(time.RFC3339Nano)},
				"ended": {Running: false, StartedAt: time.Now().Add(-time.Hour).Format(time.RFC3339Nano)},
			} {
				e.run(id, nil, published("127.0.0.1", silentPort(t)))
				e.inspected[id] = container.InspectResponse{ID: id, State: state}
			}
		}, []string{"skipped sessions-starting"}},
		"routing, long up and unreachable": {"proxy-routing", func(t *testing.T, _ *Options, e *fakeEngine) {
			e.run("a", nil, published("127.0.0.1", silentPort(t)))
			e.inspected["a"] = container.InspectResponse{ID: "a", State: &container.State{
				Running: true, StartedAt: time.Now().Add(-time.Hour).Format(time.RFC3339Nano),
			}}
		}, []string{"fail session-unreachable"}},
		"routing, by the network": {"proxy-routing", func(t *testing.T, o *Options, e *fakeEngine) {
			e.run("a", nil)
			e.containers[0].Labels[labelPort] = port(serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
			e.containers[0].NetworkSettings = &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{
				o.Config.Docker.Network: {IPAddress: netip.MustParseAddr("127.0.0.1")},
			}}
		}, []string{"pass sessions-reached"}},
		"routing, unpublished": {"proxy-routing", func(_ *testing.T, _ *Options, e *fakeEngine) { e.run("a", nil) }, []string{"warn no-route"}},

		"limits, no sessions": {"resource-limits", nil, []string{"pass limits-configured", "skipped no-sessions"}},
		"limits, no engine":   {"resource-limits", noEngine, []string{"pass limits-configured", "skipped engine-not-reached"}},
		"limits, not set": {
			"resource-limits", func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Limits.Memory = 0 },
			[]string{"fail limits-missing", "skipped no-sessions"},
		},
		"limits, good": {
			"resource-limits", func(_ *testing.T, _ *Options, e *fakeEngine) { e.run("a", limited(64*mib, 100_000, 100)) },
			[]string{"pass limits-configured", "pass limits-enforced"},
		},
		"limits, not enforced": {
			"resource-limits", func(_ *testing.T, _ *Options, e *fakeEngine) { e.run("a", limited(0, 0, 0)) },
			[]string{"pass limits-configured", "fail limit-not-enforced", "fail limit-not-enforced", "fail limit-not-enforced"},
		},
		"limits, swap": {
			"resource-limits", func(_ *testing.T, _ *Options, e *fakeEngine) {
				h := limited(1<<30, 100_000, 100)
				h.MemorySwap = -1
				e.run("a", h)
			}, []string{"pass limits-configured", "fail limit-not-enforced"},
		},
		"limits, above the settings": {
			"resource-limits", func(_ *testing.T, _ *Options, e *fakeEngine) { e.run("a", limited(64<<30, 100_000, 100)) },
			[]string{"pass limits-configured", "warn limit-above-settings"},
		},

		"throttling, good":        {"session-throttling", nil, []string{"pass sessions-bounded"}},
		"throttling, not bounded": {"session-throttling", func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Limits.MaxSessions = 0 }, []string{"fail sessions-unbounded"}},
		"throttling, however busy": {
			"session-throttling", func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Limits.Critical = 1 },
			[]string{"pass sessions-bounded", "warn pressure-ignored"},
		},
		"throttling, overcommitted": {
			"session-throttling", func(_ *testing.T, _ *Options, e *fakeEngine) { e.info.MemTotal = 1 << 30 },
			[]string{"pass sessions-bounded", "warn memory-overcommitted"},
		},
		"throttling, too many": {"session-throttling", func(_ *testing.T, o *Options, e *fakeEngine) {
			o.Config.Limits.MaxSessions = 1
			e.run("a", nil)
			e.run("b", nil)
		}, []string{"pass sessions-bounded", "warn more-sessions-than-settings"}},

		"monitoring, good": {"resource-monitoring", func(t *testing.T, o *Options, _ *fakeEngine) {
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
		"monitoring, no metrics": {"resource-monitoring", func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Server.Listen = "127.0.0.1:" + port(serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/livez" {
					w.WriteHeader(http.StatusNotFound)
				}
			}))
		}, []string{"pass controllers-active", "pass host-measured", "warn no-metrics"}},
		"monitoring, not serving": {"resource-monitoring", nil, []string{"pass controllers-active", "pass host-measured", "skipped not-serving"}},
		"monitoring, busy":        {"resource-monitoring", loaded(0.81, 0.1, nil), []string{"pass controllers-active", "warn host-busy", "skipped not-serving"}},
		"monitoring, busy CPUs":   {"resource-monitoring", loaded(0.1, 0.91, nil), []string{"pass controllers-active", "warn host-busy", "skipped not-serving"}},
		"monitoring, critical":    {"resource-monitoring", loaded(0.1, 0.95, nil), []string{"pass controllers-active", "warn host-critical", "skipped not-serving"}},
		"monitoring, blind": {
			"resource-monitoring", loaded(0, 0, errors.New("no /proc")), []string{"pass controllers-active", "fail host-not-measured", "skipped not-serving"},
		},
		"monitoring, no controller": {
			"resource-monitoring", func(_ *testing.T, _ *Options, e *fakeEngine) { e.info.PidsLimit = false },
			[]string{"fail controller-missing", "pass host-measured", "skipped not-serving"},
		},

		"rotation, good":    {"certificate-rotation", nil, []string{"pass in-time"}},
		"rotation, process": {"certificate-rotation", process, []string{"skipped no-engine-used"}},
		"rotation, due": {"certificate-rotation", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Now = func() time.Time { return time.Now().AddDate(0, 0, 65) }
		}, []string{"warn renewal-due", "warn renewal-due"}},
		"rotation, late": {"certificate-rotation", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Now = func() time.Time { return time.Now().AddDate(0, 0, 85) }
		}, []string{"fail renewal-late", "fail renewal-late"}},
		"rotation, unfinished": {"certificate-rotation", func(t *testing.T, o *Options, _ *fakeEngine) {
			text, err := os.ReadFile(o.Config.Docker.CACert)
			if err != nil {
				t.Fatal(err)
			}
			o.Config.Docker.CACert = filepath.Join(t.TempDir(), "ca.pem")
			write(t, o.Config.Docker.CACert, strings.Repeat(string(text), 2))
		}, []string{"warn rotation-unfinished"}},
		"rotation, no certificates": {"certificate-rotation", func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.ClientCert = filepath.Join(t.TempDir(), "none.pem")
		}, []string{"fail certificate-missing"}},

		"firewall, loopback": {"firewall", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host, o.Listeners = "tcp://127.0.0.1:2376", listening1("127.0.0.1:2376")
		}, []string{"pass plain-port-closed", "pass loopback-only", "pass closed-to-sessions"}},
		"firewall, open to all": {"firewall", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host, o.Listeners = "tcp://127.0.0.1:2376", listening1("[::]:2376")
		}, []string{"pass plain-port-closed", "fail open-to-all", "pass closed-to-sessions"}},
		"firewall, restricted": {"firewall", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host, o.Listeners = "tcp://127.0.0.1:2376", listening1("0.0.0.0:2376")
			o.FirewallRules = func(context.Context) (string, error) {
				return "-A INPUT -i br-+ -p tcp -m tcp --dport 2376 -j DROP\n", nil
			}
		}, []string{"pass plain-port-closed", "pass restricted", "warn open-to-sessions", "warn sessions-open"}},
		"firewall, open to containers": {"firewall", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host, o.Listeners = "tcp://10.0.0.5:2376", listening1("10.0.0.5:2376")
		}, []string{"pass plain-port-closed", "warn open-to-containers", "pass closed-to-sessions"}},
		"firewall, rules unreadable": {"firewall", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host, o.Listeners = "tcp://127.0.0.1:2376", listening1("0.0.0.0:2376")
			o.FirewallRules = func(context.Context) (string, error) { return "", errors.New("not root") }
		}, []string{"pass plain-port-closed", "warn rules-unreadable", "skipped isolation-unknown"}},
		"firewall, closed with rules of the operator's own": {"firewall", func(_ *testing.T, o *Options, e *fakeEngine) {
			e.network.ID = "0123456789abcdef"
			o.FirewallRules = func(context.Context) (string, error) {
				return "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -i br-+ -m conntrack --ctstate NEW -j DROP\n", nil
			}
		}, []string{"pass plain-port-closed", "skipped nothing-listens", "pass closed-to-sessions"}},
		"firewall, another bridge closed": {
			"firewall", func(_ *testing.T, _ *Options, e *fakeEngine) { e.network.ID = "0123456789abcdef" },
			[]string{"pass plain-port-closed", "skipped nothing-listens", "warn open-to-sessions", "warn sessions-open"},
		},
		"firewall, shadowed": {"firewall", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.FirewallRules = func(context.Context) (string, error) {
				shadows := strings.Replace(closedRules, "-A INPUT -j BERTH", "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -j BERTH", 1)
				return strings.Replace(shadows, "-A FORWARD -j", "-A FORWARD -j ACCEPT\n-A FORWARD -j", 1), nil
			}
		}, []string{"pass plain-port-closed", "skipped nothing-listens", "warn open-to-sessions", "warn sessions-open"}},
		"firewall, refusing policy and the bridge let in": {"firewall", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.FirewallRules = func(context.Context) (string, error) {
				return "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -i berth0 -j ACCEPT\n", nil
			}
		}, []string{"pass plain-port-closed", "skipped nothing-listens", "warn open-to-sessions"}},
		"firewall, what is accepted before concerns others": {"firewall", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.FirewallRules = func(context.Context) (string, error) {
				return strings.Replace(closedRules, "-A INPUT -j BERTH", "-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -j BERTH", 1), nil
			}
		}, []string{"pass plain-port-closed", "skipped nothing-listens", "pass closed-to-sessions"}},
		"firewall, chains that nothing enters": {"firewall", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.FirewallRules = func(context.Context) (string, error) {
				return strings.ReplaceAll(closedRules, "-j BERTH", "-j OTHER"), nil
			}
		}, []string{"pass plain-port-closed", "skipped nothing-listens", "warn open-to-sessions", "warn sessions-open"}},
		"firewall, nothing listens": {"firewall", nil, []string{"pass plain-port-closed", "skipped nothing-listens", "pass closed-to-sessions"}},
		"firewall, sockets unreadable": {"firewall", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Listeners = func() ([]netip.AddrPort, error) { return nil, os.ErrPermission }
		}, []string{"pass plain-port-closed", "skipped sockets-unreadable", "pass closed-to-sessions"}},
		"firewall, elsewhere": {"firewall", func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host = "tcp://127.0.0.9.invalid:2376"
			o.LookupHost = func(context.Context, string) ([]string, error) { return []string{"10.9.9.9"}, nil }
		}, []string{"skipped host-unknown", "skipped engine-elsewhere"}},
		"firewall, socket": {"firewall", func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Docker.Host = "unix:///x" }, []string{"skipped local-socket"}},

		"options, good": {"daemon-options", func(t *testing.T, o *Options, _ *fakeEngine) {
			write(t, o.DaemonConfig, `{"hosts":["unix:///run/docker.sock","tcp://10.0.0.5:2376"],"tlsverify":true,"iptables":true}`)
		}, []string{"pass options-good", "pass daemon-config-good"}},
		"options, no file":   {"daemon-options", nil, []string{"pass options-good", "skipped no-daemon-config"}},
		"options, no engine": {"daemon-options", noEngine, []string{"skipped engine-not-reached"}},
		"options, no seccomp": {
			"daemon-options", func(_ *testing.T, _ *Options, e *fakeEngine) { e.info.SecurityOptions = nil },
			[]string{"fail no-seccomp", "skipped no-daemon-config"},
		},
		"options, unconfined": {
			"daemon-options", func(_ *testing.T, _ *Options, e *fakeEngine) {
				e.info.SecurityOptions = []string{"name=seccomp,profile=unconfined"}
			},
			[]string{"fail no-seccomp", "skipped no-daemon-config"},
		},
		"options, weak": {"daemon-options", func(_ *testing.T, _ *Options, e *fakeEngine) {
			e.info.LiveRestoreEnabled, e.info.Debug = false, true
			e.info.RegistryConfig = &registry.ServiceConfig{
				InsecureRegistryCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")},
				IndexConfigs:          map[string]*registry.IndexInfo{"docker.io": {Secure: true}, "old.example": {}},
			}
		}, []string{"warn no-live-restore", "warn debug", "warn insecure-registries", "warn insecure-registries", "skipped no-daemon-config"}},
		"options, the source document's file": {"daemon-options", func(t *testing.T, o *Options, _ *fakeEngine) {
			write(t, o.DaemonConfig, `{"tls":true,"tlsverify":true,"hosts":["tcp://0.0.0.0:2376"],"iptables":false,"bridge":"none"}`)
		}, []string{"pass options-good", "fail iptables-off"}},
		"options, open": {
			"daemon-options", func(t *testing.T, o *Options, _ *fakeEngine) {
				write(t, o.DaemonConfig, `{"hosts":["tcp://0.0.0.0:2375"]}`)
			},
			[]string{"pass options-good", "fail tcp-without-tlsverify"},
		},
		"options, TLS for everybody": {
			"daemon-options", func(t *testing.T, o *Options, _ *fakeEngine) { write(t, o.DaemonConfig, `{"tls":true}`) },
			[]string{"pass options-good", "fail tls-without-tlsverify"},
		},
		"options, malformed": {
			"daemon-options", func(t *testing.T, o *Options, _ *fakeEngine) { write(t, o.DaemonConfig, `{`) },
			[]string{"pass options-good", "warn daemon-config-malformed"},
		},

		"logging, good":  {"api-logging", nil, []string{"pass logging-on", "skipped engine-audit-unknown"}},
		"logging, audit": {"api-logging", func(_ *testing.T, _ *Options, e *fakeEngine) { e.info.Plugins.Authorization = []string{"opa"} }, []string{"pass logging-on", "pass engine-audited"}},
		"logging, off":   {"api-logging", func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Log.Console = false }, []string{"fail logging-off", "skipped engine-audit-unknown"}},
		"logging, quiet": {
			"api-logging", func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Log.Level = config.LevelError },
			[]string{"warn level-hides-calls", "skipped engine-audit-unknown"},
		},
		"logging, file without a directory": {"api-logging", logFile("none/berth.log", 0), []string{"fail log-file-impossible", "skipped engine-audit-unknown"}},
		"logging, file to come":             {"api-logging", logFile("berth.log", 0), []string{"pass logging-on", "skipped engine-audit-unknown"}},
		"logging, file readable":            {"api-logging", logFile("berth.log", 0o644), []string{"warn log-file-readable", "skipped engine-audit-unknown"}},
		"logging, file writable":            {"api-logging", logFile("berth.log", 0o666), []string{"fail log-file-writable", "skipped engine-audit-unknown"}},
		"logging, file closed":              {"api-logging", logFile("berth.log", 0o640), []string{"pass logging-on", "skipped engine-audit-unknown"}},
		"logging, of sessions": {"api-logging", func(_ *testing.T, _ *Options, e *fakeEngine) {
			h := limited(1, 1, 1)
			h.LogConfig.Type = "none"
			e.run("a", h)
		}, []string{"pass logging-on", "skipped engine-audit-unknown", "warn session-log-off"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, e := world(t)
			if tc.change != nil {
				tc.change(t, &o, e)
			}
			findings := checkOf(t, o, tc.check).Run(t.Context())
			if diff := cmp.Diff(tc.want, codes(findings)); diff != "" {
				t.Errorf("%s (-want +got):\n%s\n%+v", tc.check, diff, findings)
			}
			complete(t, findings)
		})
	}
}

// loaded is a machine that is so busy, or cannot be looked at.
func loaded(memory, cpu float64, err error) func(*testing.T, *Options, *fakeEngine) {
	return func(_ *testing.T, o *Options, _ *fakeEngine) {
		o.Load = func(context.Context) (pressure.Sample, error) { return pressure.Sample{Memory: memory, CPU: cpu}, err }
	}
}

func checkOf(t *testing.T, o Options, name string) Check {
	t.Helper()
	for _, item := range Checklist(o) {
		if item.Check.Name() == name {
			return item.Check
		}
	}
	t.Fatalf("the checklist has no %q", name)
	return nil
}

func mode(name string, mode os.FileMode) func(*testing.T, *Options, *fakeEngine) {
	return func(t *testing.T, o *Options, _ *fakeEngine) {
		if err := os.Chmod(filepath.Join(o.Config.Docker.CertPath, name), mode); err != nil {
			t.Fatal(err)
		}
	}
}

// logFile sets a log file, and makes it with this mode unless that is 0.
func logFile(name string, mode os.FileMode) func(*testing.T, *Options, *fakeEngine) {
	return func(t *testing.T, o *Options, _ *fakeEngine) {
		o.Config.Log.FileEnabled, o.Config.Log.File = true, filepath.Join(t.TempDir(), name)
		if mode == 0 {
			return
		}
		write(t, o.Config.Log.File, "")
		if err := os.Chmod(o.Config.Log.File, mode); err != nil {
			t.Fatal(err)
		}
	}
}
