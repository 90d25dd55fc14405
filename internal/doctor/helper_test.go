package doctor

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"berth/internal/config"
	"berth/internal/pki"
	"berth/internal/pressure"
)

// fakeEngine returns what a test sets. A container is inspected by its ID.
type fakeEngine struct {
	info       system.Info
	containers []container.Summary
	inspected  map[string]container.InspectResponse
	network    network.Inspect // of the sessions; without an ID there is none
	err        error           // of every call
}

func (e *fakeEngine) Info(context.Context, client.InfoOptions) (client.SystemInfoResult, error) {
	return client.SystemInfoResult{Info: e.info}, e.err
}

// ContainerList knows two filters: the label of sessions, and that of their installation.
func (e *fakeEngine) ContainerList(_ context.Context, o client.ContainerListOptions) (client.ContainerListResult, error) {
	items := slices.Clone(e.containers)
	if len(o.Filters) > 0 {
		items = slices.DeleteFunc(items, func(c container.Summary) bool {
			for filter := range o.Filters["label"] {
				if name, value, _ := strings.Cut(filter, "="); c.Labels[name] == "" || value != "" && c.Labels[name] != value {
					return true
				}
			}
			return false
		})
	}
	return client.ContainerListResult{Items: items}, e.err
}

func (e *fakeEngine) ContainerInspect(_ context.Context, id string, _ client.ContainerInspectOptions) (client.ContainerInspectResult, error) {
	return client.ContainerInspectResult{Container: e.inspected[id]}, e.err
}

func (e *fakeEngine) NetworkInspect(context.Context, string, client.NetworkInspectOptions) (client.NetworkInspectResult, error) {
	if e.network.ID == "" {
		return client.NetworkInspectResult{}, errdefs.ErrNotFound
	}
	return client.NetworkInspectResult{Network: e.network}, e.err
}

// run adds a running session container with these resources.
func (e *fakeEngine) run(id string, host *container.HostConfig, ports ...container.PortSummary) {
	e.containers = append(e.containers, container.Summary{
		ID: id, Names: []string{"/" + id}, Labels: map[string]string{labelSession: id}, Ports: ports,
	})
	if e.inspected == nil {
		e.inspected = map[string]container.InspectResponse{}
	}
	e.inspected[id] = container.InspectResponse{ID: id, HostConfig: host}
}

// closedRules are the relevant rules of "berth docker firewall".
const closedRules = `*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
-A INPUT -j BERTH-INPUT
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -j BERTH-FORWARD
-A BERTH-INPUT -i berthi+ -p udp -m udp --dport 53 -m addrtype --dst-type LOCAL --limit-iface-in -j RETURN
-A BERTH-INPUT -i berthi+ -p tcp -m tcp --dport 53 -m addrtype --dst-type LOCAL --limit-iface-in -j RETURN
-A BERTH-INPUT -i berthi+ -p tcp -m tcp --dport 80 -m addrtype --dst-type LOCAL --limit-iface-in -j RETURN
-A BERTH-INPUT -i berthi+ -p tcp -m tcp --dport 443 -m addrtype --dst-type LOCAL --limit-iface-in -j RETURN
-A BERTH-INPUT -i berthi+ -p tcp -m tcp --dport 8081 -m addrtype --dst-type LOCAL --limit-iface-in -j RETURN
-A BERTH-INPUT -i berthi+ -j DROP
-A BERTH-INPUT -i berth+ -p tcp -m tcp --dport 8081 -m addrtype --dst-type LOCAL --limit-iface-in -j RETURN
-A BERTH-INPUT -i berth+ -j DROP
-A BERTH-FORWARD -i berthi+ -j DROP
-A BERTH-FORWARD -o berth+ -m conntrack ! --ctstate DNAT -j DROP
COMMIT
`

func goodInfo() system.Info {
	return system.Info{
		MemoryLimit: true, CPUCfsPeriod: true, CPUCfsQuota: true, PidsLimit: true, MemTotal: 64 << 30, LiveRestoreEnabled: true,
		SecurityOptions: []string{"name=seccomp,profile=default"},
	}
}

// fixture is a good installation: certificates, settings, an engine without containers, and a machine of its own.
func fixture(t testing.TB) (Options, *fakeEngine) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "certs")
	if _, err := pki.Init(dir, pki.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Options{Environ: []string{
		"DOCKER_HOST=tcp://127.0.0.1:1", "DOCKER_CERT_PATH=" + dir, "BERTH_STATE_DIR=" + t.TempDir(), "BERTH_LISTEN=127.0.0.1:1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	engine := &fakeEngine{info: goodInfo()}
	o := Options{
		Config: cfg, Engine: engine, ComposePaths: []string{t.TempDir()}, DaemonConfig: filepath.Join(t.TempDir(), "daemon.json"),
		LocalAddrs:    func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("10.0.0.5")}, nil },
		Listeners:     func() ([]netip.AddrPort, error) { return nil, nil },
		Load:          func(context.Context) (pressure.Sample, error) { return pressure.Sample{Memory: 0.5, CPU: 0.5}, nil },
		FirewallRules: func(context.Context) (string, error) { return closedRules, nil },
	}
	o.fill()
	return o, engine
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// codes lists "status code" of findings.
func codes(findings []Finding) []string {
	all := []string{}
	for _, f := range findings {
		all = append(all, string(f.Status)+" "+f.Code)
	}
	return all
}

// complete fails the test for a finding without a text, or a warning or failure without a remedy.
func complete(t testing.TB, findings []Finding) {
	t.Helper()
	if len(findings) == 0 {
		t.Error("no finding at all")
	}
	for _, f := range findings {
		bad := f.Status == Warn || f.Status == Fail
		if f.Code == "" || f.Seen == "" || (f.Remedy != "") != bad {
			t.Errorf("finding %+v: want code and text, and a remedy for warnings and failures alone", f)
		}
	}
}

// checkCases are changes of the good fixture, which nil leaves as it is, and the codes of what a check finds then.
type checkCases map[string]struct {
	change func(t *testing.T, o *Options, e *fakeEngine)
	want   []string
}

func (cases checkCases) run(t *testing.T, name string) {
	t.Helper()
	checks := Checks()
	i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("there is no check %q", name)
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, e := fixture(t)
			if tc.change != nil {
				tc.change(t, &o, e)
			}
			findings := checks[i].findings(t.Context(), &o)
			if diff := cmp.Diff(tc.want, codes(findings)); diff != "" {
				t.Errorf("codes (-want +got):\n%s\n%+v", diff, findings)
			}
			complete(t, findings)
		})
	}
}

func process(_ *testing.T, o *Options, _ *fakeEngine) {
	o.Config.Session.Runtime = config.RuntimeProcess
}

func noEngine(_ *testing.T, o *Options, _ *fakeEngine) {
	o.Engine, o.EngineErr = nil, errors.New("no certificate")
}
