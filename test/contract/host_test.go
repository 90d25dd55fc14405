package contract_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"berth/test/harness"
)

// The order of the sources is that of the document, and HOST_IP wins over all. That each is found where it is the one that
// answers, test/hostip shows in network namespaces; that what is found is believed for five minutes, internal/hostip does.
func hostIsFound(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	harness.Must(t, err)
	look := func(env map[string]string) (report struct {
		Address, Source string
		Candidates      []struct{ Source string }
	},
	) {
		c := harness.Command(t, env, "hostip", "--port", port, "--output", "json")
		if err := json.Unmarshal([]byte(c.Stdout), &report); err != nil {
			t.Fatalf("%v\n%s%s", err, c.Stdout, c.Stderr)
		}
		return report
	}
	found := look(map[string]string{"DOCKER_HOST_GATEWAY": "127.0.0.1", "GATEWAY": "127.0.0.1"})
	var order []string
	for _, c := range found.Candidates {
		order = append(order, c.Source)
	}
	want := []string{"host.docker.internal", "DOCKER_HOST_GATEWAY, GATEWAY", "default route", "network of the default route", "usual gateways"}
	if got := slices.Compact(order); !slices.Equal(got, want) {
		t.Errorf("got the order %q, want %q", got, want)
	}
	if forced := look(map[string]string{"HOST_IP": "127.0.0.1", "GATEWAY": "10.0.0.1"}); forced.Source != "HOST_IP" || forced.Address != "127.0.0.1" || len(forced.Candidates) != 1 {
		t.Errorf("with HOST_IP: got %+v, want it and nothing else", forced)
	}
}
