package doctor

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/moby/api/types/registry"

	"berth/internal/config"
)

func TestEnvironment(t *testing.T) {
	t.Parallel()
	checkCases{
		"good": {nil, []string{"pass settings-usable"}},
		"faulty": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			_, o.ConfigErr = config.Load(config.Options{Environ: []string{"BERTH_STATE_DIR=/x", "MAX_CONCURRENT_SESSIONS=0", "LOG_LEVEL=LOUD"}})
		}, []string{"fail setting-faulty", "fail setting-faulty"}},
		"other error": {func(_ *testing.T, o *Options, _ *fakeEngine) { o.ConfigErr = errors.New("x") }, []string{"fail setting-faulty"}},
		"weak":        {func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Docker.TLSVerify = false }, []string{"warn setting-weak"}},
	}.run(t, "environment")
}

func TestDaemonOptions(t *testing.T) {
	t.Parallel()
	checkCases{
		"good": {func(t *testing.T, o *Options, _ *fakeEngine) {
			write(t, o.DaemonConfig, `{"hosts":["unix:///run/docker.sock","tcp://10.0.0.5:2376"],"tlsverify":true,"iptables":true}`)
		}, []string{"pass options-good", "pass daemon-config-good"}},
		"no file":   {nil, []string{"pass options-good", "skipped no-daemon-config"}},
		"no engine": {noEngine, []string{"skipped engine-not-reached"}},
		"no seccomp": {
			func(_ *testing.T, _ *Options, e *fakeEngine) { e.info.SecurityOptions = nil },
			[]string{"fail no-seccomp", "skipped no-daemon-config"},
		},
		"unconfined": {
			func(_ *testing.T, _ *Options, e *fakeEngine) {
				e.info.SecurityOptions = []string{"name=seccomp,profile=unconfined"}
			},
			[]string{"fail no-seccomp", "skipped no-daemon-config"},
		},
		"weak": {func(_ *testing.T, _ *Options, e *fakeEngine) {
			e.info.LiveRestoreEnabled, e.info.Debug = false, true
			e.info.RegistryConfig = &registry.ServiceConfig{
				InsecureRegistryCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")},
				IndexConfigs:          map[string]*registry.IndexInfo{"docker.io": {Secure: true}, "old.example": {}},
			}
		}, []string{"warn no-live-restore", "warn debug", "warn insecure-registries", "warn insecure-registries", "skipped no-daemon-config"}},
		"the source document's file": {func(t *testing.T, o *Options, _ *fakeEngine) {
			write(t, o.DaemonConfig, `{"tls":true,"tlsverify":true,"hosts":["tcp://0.0.0.0:2376"],"iptables":false,"bridge":"none"}`)
		}, []string{"pass options-good", "fail iptables-off"}},
		"open": {
			func(t *testing.T, o *Options, _ *fakeEngine) {
				write(t, o.DaemonConfig, `{"hosts":["tcp://0.0.0.0:2375"]}`)
			},
			[]string{"pass options-good", "fail tcp-without-tlsverify"},
		},
		"TLS without client authentication": {
			func(t *testing.T, o *Options, _ *fakeEngine) { write(t, o.DaemonConfig, `{"tls":true}`) },
			[]string{"pass options-good", "fail tls-without-tlsverify"},
		},
		"malformed": {
			func(t *testing.T, o *Options, _ *fakeEngine) { write(t, o.DaemonConfig, `{`) },
			[]string{"pass options-good", "warn daemon-config-malformed"},
		},
	}.run(t, "daemon-options")
}

func TestAPILogging(t *testing.T) {
	t.Parallel()
	checkCases{
		"good":  {nil, []string{"pass logging-on", "skipped engine-audit-unknown"}},
		"audit": {func(_ *testing.T, _ *Options, e *fakeEngine) { e.info.Plugins.Authorization = []string{"opa"} }, []string{"pass logging-on", "pass engine-audited"}},
		"off":   {func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Log.Console = false }, []string{"fail logging-off", "skipped engine-audit-unknown"}},
		"quiet": {
			func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Log.Level = config.LevelError },
			[]string{"warn level-hides-calls", "skipped engine-audit-unknown"},
		},
		"file without a directory": {logFile("none/berth.log", 0), []string{"fail log-file-impossible", "skipped engine-audit-unknown"}},
		"file to come":             {logFile("berth.log", 0), []string{"pass logging-on", "skipped engine-audit-unknown"}},
		"file readable":            {logFile("berth.log", 0o644), []string{"warn log-file-readable", "skipped engine-audit-unknown"}},
		"file writable":            {logFile("berth.log", 0o666), []string{"fail log-file-writable", "skipped engine-audit-unknown"}},
		"file closed":              {logFile("berth.log", 0o640), []string{"pass logging-on", "skipped engine-audit-unknown"}},
		"of sessions": {func(_ *testing.T, _ *Options, e *fakeEngine) {
			h := limited(1, 1, 1)
			h.LogConfig.Type = "none"
			e.run("a", h)
		}, []string{"pass logging-on", "skipped engine-audit-unknown", "warn session-log-off"}},
	}.run(t, "api-logging")
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
