package doctor

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"berth/internal/hostip"
)

func TestTLSConnection(t *testing.T) {
	t.Parallel()
	checkCases{
		"refused": {func(t *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host = "tcp://" + net.JoinHostPort("127.0.0.1", port(silentPort(t)))
		}, []string{"fail connection-refused"}},
		"socket":   {func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Docker.Host = "unix:///run/docker.sock" }, []string{"fail local-socket"}},
		"nonsense": {func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Docker.Host = "engine" }, []string{"fail setting-faulty"}},
		"process":  {process, []string{"skipped no-engine-used"}},
	}.run(t, "tls-connection")
}

func TestHostIP(t *testing.T) {
	t.Parallel()
	checkCases{
		"good":  {nil, []string{"pass host-known"}},
		"local": {func(_ *testing.T, o *Options, _ *fakeEngine) { o.Config.Docker.Host = "unix:///run/docker.sock" }, []string{"pass local"}},
		"unknown": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host = "tcp://host.docker.internal:2376"
			o.LookupHost = func(context.Context, string) ([]string, error) { return nil, &net.DNSError{IsNotFound: true} }
		}, []string{"fail host-unknown"}},
		"remote": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host = "tcp://engine:2376"
			o.LookupHost = func(context.Context, string) ([]string, error) { return []string{"10.9.9.9"}, nil }
		}, []string{"pass host-known"}},
		"remote and on its loopback": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host, o.Config.Session.PublishIP = "tcp://10.9.9.9:2376", "127.0.0.1"
			o.DetectHost = func(context.Context, uint16, func(context.Context, netip.AddrPort) error) (hostip.Result, error) {
				return hostip.Result{}, hostip.ErrNotDetected
			}
		}, []string{"fail host-not-detected"}},
		"remote, on its loopback, and found": {func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Docker.Host, o.Config.Session.PublishIP = "tcp://10.9.9.9:2377", "127.0.0.1"
			o.DetectHost = func(_ context.Context, port uint16, _ func(context.Context, netip.AddrPort) error) (hostip.Result, error) {
				if port != 2377 {
					return hostip.Result{}, hostip.ErrNotDetected
				}
				return hostip.Result{Addr: netip.MustParseAddr("10.9.9.9"), Source: hostip.DockerName}, nil
			}
		}, []string{"pass host-detected"}},
		"process": {process, []string{"skipped no-engine-used"}},
	}.run(t, "host-ip")
}

func TestProxyRouting(t *testing.T) {
	t.Parallel()
	checkCases{
		"no sessions": {nil, []string{"skipped no-sessions"}},
		"no engine":   {noEngine, []string{"skipped engine-not-reached"}},
		"good": {func(t *testing.T, _ *Options, e *fakeEngine) {
			p := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
			e.run("a", nil, published("127.0.0.1", p))
			e.run("b", nil, published("0.0.0.0", p))
		}, []string{"pass sessions-reached"}},
		"unreachable": {func(t *testing.T, _ *Options, e *fakeEngine) {
			e.run("a", nil, published("127.0.0.1", silentPort(t)))
		}, []string{"fail session-unreachable"}},
		"restarting, unhealthy, and one that answers": {func(t *testing.T, _ *Options, e *fakeEngine) {
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
		"just started or ended since": {func(t *testing.T, _ *Options, e *fakeEngine) {
			for id, state := range map[string]*container.State{
				"young": {Running: true, StartedAt: time.Now().Format(time.RFC3339Nano)},
				"ended": {Running: false, StartedAt: time.Now().Add(-time.Hour).Format(time.RFC3339Nano)},
			} {
				e.run(id, nil, published("127.0.0.1", silentPort(t)))
				e.inspected[id] = container.InspectResponse{ID: id, State: state}
			}
		}, []string{"skipped sessions-starting"}},
		"long up and unreachable": {func(t *testing.T, _ *Options, e *fakeEngine) {
			e.run("a", nil, published("127.0.0.1", silentPort(t)))
			e.inspected["a"] = container.InspectResponse{ID: "a", State: &container.State{
				Running: true, StartedAt: time.Now().Add(-time.Hour).Format(time.RFC3339Nano),
			}}
		}, []string{"fail session-unreachable"}},
		"by the network": {func(t *testing.T, o *Options, e *fakeEngine) {
			e.run("a", nil)
			e.containers[0].Labels[labelPort] = port(serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
			e.containers[0].NetworkSettings = &container.NetworkSettingsSummary{Networks: map[string]*network.EndpointSettings{
				o.Config.Docker.Network: {IPAddress: netip.MustParseAddr("127.0.0.1")},
			}}
		}, []string{"pass sessions-reached"}},
		"unpublished": {func(_ *testing.T, _ *Options, e *fakeEngine) { e.run("a", nil) }, []string{"warn no-route"}},
	}.run(t, "proxy-routing")
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

func port(n uint16) string { return strconv.Itoa(int(n)) }

func published(ip string, port uint16) container.PortSummary {
	return container.PortSummary{IP: netip.MustParseAddr(ip), PublicPort: port, PrivatePort: 4096, Type: "tcp"}
}
