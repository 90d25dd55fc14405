package app_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrape returns every sample of the exposition text by its name and labels. Of histograms it returns the counts.
func (b *berth) scrape(t *testing.T) map[string]float64 {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(b.metrics(t)))
	if err != nil {
		t.Fatal(err)
	}
	samples := map[string]float64{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			key := name + "{" + strings.Join(labels, ",") + "}"
			samples[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return samples
}

func TestOperationsAreMeasured(t *testing.T) {
	t.Parallel()
	b := start(t, settings(t))
	admin := b.adminToken(t)
	var made struct {
		ID    string `json:"session_id"`
		Token string `json:"token"`
	}
	b.call(t, http.MethodPost, "/sessions", admin, &made)
	for range 3 {
		b.call(t, http.MethodGet, "/s/"+made.ID+"/session", made.Token, nil)
	}
	b.call(t, http.MethodGet, "/s/"+made.ID+"/session", "wrong", nil)
	running := b.scrape(t)
	b.call(t, http.MethodPost, "/sessions/"+made.ID+"/stop", admin, nil)
	stopped := b.scrape(t)
	b.call(t, http.MethodDelete, "/sessions/"+made.ID, admin, nil)
	gone := b.scrape(t)

	for name, row := range map[string]struct {
		samples map[string]float64
		want    map[string]float64
	}{
		"running": {running, map[string]float64{
			"berth_sessions{status=running}": 1, "berth_sessions{status=error}": 0,
			"berth_session_operation_seconds{operation=create,outcome=ok}": 1,
			"berth_engine_call_seconds{call=create,outcome=ok}":            1, "berth_engine_call_seconds{call=start,outcome=ok}": 1,
			"berth_engine_call_seconds{call=inspect,outcome=not_found}": 1, "berth_store_call_seconds{call=create,outcome=ok}": 1,
			"berth_proxy_requests_total{status=2xx}": 3, "berth_proxy_requests_total{status=4xx}": 1,
			"berth_proxy_request_seconds{}": 4, "berth_proxy_connections{}": 1, "berth_proxy_connections_made_total{}": 1,
			"berth_proxy_requests_in_flight{}": 0, "berth_proxy_requests_waiting{}": 0, "berth_proxy_streams{}": 0,
		}},
		"stopped": {stopped, map[string]float64{
			"berth_sessions{status=running}": 0, "berth_sessions{status=stopped}": 1, "berth_proxy_connections{}": 0,
			"berth_session_operation_seconds{operation=stop,outcome=ok}": 1,
		}},
		"deleted": {gone, map[string]float64{
			"berth_sessions{status=stopped}": 0, "berth_session_operation_seconds{operation=delete,outcome=ok}": 1,
		}},
	} {
		for sample, want := range row.want {
			if got, ok := row.samples[sample]; !ok || got != want {
				t.Errorf("%s: %s is %v (%v), want %v; there is %v", name, sample, got, ok, want, slices.Sorted(maps.Keys(row.samples)))
			}
		}
	}
	if got := running["berth_proxy_bytes_total{direction=sent}"]; got == 0 {
		t.Error("no byte was counted")
	}
}

func TestHealthShowsThePool(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	b := start(t, cfg)
	var made struct {
		ID    string `json:"session_id"`
		Token string `json:"token"`
	}
	b.call(t, http.MethodPost, "/sessions", b.adminToken(t), &made)
	b.call(t, http.MethodGet, "/s/"+made.ID+"/session", made.Token, nil)
	var health struct {
		Pool map[string]any `json:"http_connection_pool"`
	}
	b.call(t, http.MethodGet, "/health", b.adminToken(t), &health)
	set, _ := health.Pool["config"].(map[string]any)
	for name, want := range map[string]float64{
		"max_keepalive_connections": 20, "max_connections": 100, "keepalive_expiry": 300, "connect_timeout": 10, "read_timeout": 30,
	} {
		if set[name] != want {
			t.Errorf("%s: got %v, want %v", name, set[name], want)
		}
	}
	if health.Pool["status"] != "healthy" || health.Pool["connections"] != 1.0 {
		t.Errorf("got %v, want a healthy pool with the one connection that is kept", health.Pool)
	}
}
