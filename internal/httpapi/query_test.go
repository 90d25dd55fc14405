package httpapi_test

import (
	"net/http"
	"testing"
)

// A filter that is misspelt and ignored would list everyone's sessions.
func TestUnknownParametersOfListsAreRefused(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for _, query := range []string{"Owner=ann", "owners=ann", "x"} {
		if a := w.call(http.MethodGet, "/sessions?"+query, adminToken, ""); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: got %d %s, want 422", query, a.status, a.body)
		}
	}
	if a := w.call(http.MethodGet, "/sessions?owner=ann&limit=1", adminToken, ""); a.status != http.StatusOK {
		t.Errorf("known ones: got %d %s", a.status, a.body)
	}
}
