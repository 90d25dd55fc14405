package health

import (
	"testing"

	"berth/internal/httpapi"
)

func TestOverallStatusIsWorstComponentStatus(t *testing.T) {
	t.Parallel()
	well := func() httpapi.Health {
		return httpapi.Health{
			Database: &httpapi.DatabaseHealth{Status: "healthy"}, Runtime: &httpapi.RuntimeHealth{Status: "healthy"},
			Resources: &httpapi.SystemResources{Status: "ok"}, Certificates: []httpapi.Certificate{{Level: "warning"}},
		}
	}
	for name, row := range map[string]struct {
		harm                 func(*httpapi.Health)
		notReady, unreadable bool
		want                 string
		reasons              int
		unrecorded           bool
		foreign              string
	}{
		"all healthy":           {want: "healthy"},
		"no database":           {harm: func(h *httpapi.Health) { h.Database = nil }, want: "healthy"},
		"starting":              {notReady: true, want: "unhealthy", reasons: 1},
		"store":                 {unreadable: true, want: "unhealthy", reasons: 1},
		"database":              {harm: func(h *httpapi.Health) { h.Database.Status = "unavailable" }, want: "degraded", reasons: 1},
		"engine":                {harm: func(h *httpapi.Health) { h.Runtime.Status = "unhealthy" }, want: "degraded", reasons: 1},
		"short of memory":       {harm: func(h *httpapi.Health) { h.Resources.Status = "critical" }, want: "degraded", reasons: 1},
		"memory warning":        {harm: func(h *httpapi.Health) { h.Resources.Status = "warning" }, want: "healthy"},
		"load unknown":          {harm: func(h *httpapi.Health) { h.Resources.Status = "unknown" }, want: "healthy"},
		"unrecorded containers": {unrecorded: true, want: "degraded", reasons: 1},
		"foreign owner":         {foreign: "unknown owner", want: "degraded", reasons: 1},
		"certificate":           {harm: func(h *httpapi.Health) { h.Certificates[0].Level = "critical" }, want: "degraded", reasons: 1},
		"everything at once":    {func(h *httpapi.Health) { h.Runtime.Status, h.Resources.Status = "unhealthy", "critical" }, true, true, "unhealthy", 4, false, ""},
		"worst status first":    {func(h *httpapi.Health) { h.Runtime.Status = "unhealthy" }, false, true, "unhealthy", 2, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := well()
			if row.harm != nil {
				row.harm(&h)
			}
			if status, reasons := overall(h, faults{row.notReady, row.unreadable, row.unrecorded, "", row.foreign}); status != row.want || len(reasons) != row.reasons {
				t.Errorf("got %s because of %q, want %s and %d reasons", status, reasons, row.want, row.reasons)
			}
		})
	}
}
