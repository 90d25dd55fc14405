package httpapi_test

import (
	"net/http"
	"testing"
)

// If a misspelt filter were ignored, all owners' sessions would be listed.
func TestUnknownParametersOfListsAreRefused(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	for _, query := range []string{"Owner=ann", "owners=ann", "x"} {
		if a := w.call(http.MethodGet, "/sessions?"+query, adminToken, ""); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: got %d %s, want 422", query, a.status, a.body)
		}
	}
	if a := w.call(http.MethodGet, "/sessions?owner=ann&limit=1", adminToken, ""); a.status != http.StatusOK {
		t.Errorf("known parameters: got %d %s", a.status, a.body)
	}
}
