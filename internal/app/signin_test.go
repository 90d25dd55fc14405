package app_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"berth/internal/httpapi"
	"berth/internal/origin"
)

// The setting is what the record of a sign-in ends with, and not only its cookie.
func TestSignInEndsAfterTheConfiguredTime(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	cfg.Session.SignInHours = 1
	b := start(t, cfg)
	var made httpapi.NewSession
	if status := b.call(t, http.MethodPost, "/sessions", b.adminToken(t), &made); status != http.StatusCreated {
		t.Fatalf("create: got %d", status)
	}
	own, err := url.Parse(made.Addresses[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+b.Addr().String()+origin.SignIn, strings.NewReader("token="+made.Token))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = own.Host
	r.Header.Set("Origin", "http://"+own.Host)
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	var list struct {
		SignIns []httpapi.SessionSignIn `json:"sign_ins"`
	}
	b.call(t, http.MethodGet, "/sessions/"+string(made.ID)+"/sign-ins", b.adminToken(t), &list)
	if res.StatusCode != http.StatusSeeOther || len(list.SignIns) != 1 || list.SignIns[0].ExpiresAt.Sub(list.SignIns[0].At) != time.Hour {
		t.Errorf("got %s and %+v, want one sign-in of an hour", res.Status, list.SignIns)
	}
}
