package httpapi_test

import (
	"net/http"
	"slices"
	"testing"

	"berth/internal/httpapi"
	"berth/internal/origin"
)

func TestSessionShowsItsAddressesAndWhatToTypeInATerminal(t *testing.T) {
	t.Parallel()
	w := newFixtureWith(t, func(_ *fixture, o *httpapi.Options) {
		o.Addresses = origin.New(origin.Options{Loopback: true, Listen: 8080}).All
	})
	made := decode[httpapi.NewSession](t, w.call(http.MethodPost, "/sessions", adminToken, `{}`))
	byPath := "http://localhost:8080/s/" + string(made.ID)
	want := []httpapi.Address{
		{By: "localhost", URL: "http://" + string(made.ID) + ".localhost:8080/"}, // programs do not resolve it
		{By: "path", URL: byPath + "/", Attach: `opencode attach ` + byPath + ` -p "$OPENCODE_SERVER_PASSWORD"`},
	}
	shown := decode[httpapi.Session](t, w.call(http.MethodGet, "/sessions/"+string(made.ID), adminToken, ""))
	if !slices.Equal(made.Addresses, want) || !slices.Equal(shown.Addresses, want) {
		t.Errorf("got %v and %v, want %v", made.Addresses, shown.Addresses, want)
	}
}
