package httpapi_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/session"
)

// rows have every route: the verb that it must need, and the status for whoever has it. A route without a row fails, as does a
// row without a route. The last ones are those of the proxy, which has one route for all methods, and those of pairing.
var rows = map[string]struct {
	verb   access.Verb
	status int
	body   string
}{
	"GET /livez":                               {access.Status, 200, ""},
	"GET /readyz":                              {access.Status, 200, ""},
	"GET /openapi.json":                        {access.Status, 200, ""},
	"GET /health":                              {access.Status, 200, ""},
	"GET /health/container":                    {access.Status, 200, ""},
	"GET /health/container/{id}":               {access.Read, 200, ""},
	"GET /metrics":                             {access.Metrics, 200, ""},
	"GET /instances":                           {access.Instances, 200, ""},
	"POST /sessions":                           {access.Create, 201, `{}`},
	"GET /sessions":                            {access.List, 200, ""},
	"GET /sessions/{id}":                       {access.Read, 200, ""},
	"DELETE /sessions/{id}":                    {access.Delete, 204, ""},
	"POST /sessions/{id}/start":                {access.Write, 200, ""},
	"POST /sessions/{id}/stop":                 {access.Write, 200, ""},
	"POST /sessions/{id}/restart":              {access.Write, 200, ""},
	"POST /sessions/{id}/upgrade":              {access.Write, 200, ""},
	"POST /sessions/{id}/cancel":               {access.Write, 409, ""}, // nothing is in progress
	"GET /sessions/{id}/logs":                  {access.Logs, 200, ""},
	"GET /sessions/{id}/events":                {access.Read, 200, ""},
	"GET /sessions/{id}/auth":                  {access.Read, 200, ""},
	"POST /sessions/{id}/auth/rotate":          {access.Rotate, 200, ""},
	"POST /sessions/{id}/links":                {access.SignIns, 409, ""}, // the session has no address for browsers
	"GET /sessions/{id}/sign-ins":              {access.SignIns, 200, ""},
	"DELETE /sessions/{id}/sign-ins/{sign_in}": {access.SignIns, 404, ""}, // there is no such sign-in
	"GET /usage":                               {access.List, 200, ""},
	"GET /sessions/{id}/usage":                 {access.Read, 200, ""},
	"GET /auth/sessions":                       {access.List, 200, ""},
	"POST /tokens":                             {access.PlatformTokens, 201, `{"name":"made","scopes":["metrics"]}`},
	"GET /tokens":                              {access.PlatformTokens, 200, ""},
	"DELETE /tokens/{token_id}":                {access.PlatformTokens, 404, ""}, // there is no such token
	"POST /s/{id}/api/pair":                    {access.Pair, 200, `{"name":"phone"}`},
	"GET /s/{id}/auth/connect/no-code":         {access.Status, 400, ""}, // the client does not say what it wants
	"GET /s/{id}/echo":                         {access.Open, 200, ""},
	"POST /s/{id}/session":                     {access.Open, 200, ""},
}

// caller is a principal with its token, and the session that it asks for, which is alice's.
type caller struct {
	name  string
	who   access.Principal
	token session.Secret
	id    session.ID
}

// wants is the status of a request for a verb, by the one table of permissions.
func (c caller) wants(v access.Verb, success int) int {
	switch {
	case access.Reaches(v, access.Anonymous) == access.Any, access.May(c.who, v, c.id, "alice"):
		return success
	case c.who.Kind != access.Platform && c.who.Kind != access.Owner, v == access.Open:
		return http.StatusUnauthorized // the proxy knows the tokens of sessions only
	case c.who.Reach(v) == access.Owned:
		return http.StatusNotFound
	default:
		return http.StatusForbidden
	}
}

// callers makes one of each kind of principal, each with a session of its own that it asks for.
func (w *fixture) callers() (all []caller) {
	w.t.Helper()
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	hers := func() (session.ID, session.Secret) {
		s, token := w.Make(lifecycle.Request{Owner: "alice"})
		return s.ID, token
	}
	add := func(name string, who access.Principal, token session.Secret) {
		id, _ := hers()
		all = append(all, caller{name, who, token, id})
	}
	addPlatform := func(name, owner string, scopes []string) httpapi.NewPlatformToken {
		more := ""
		if owner != "" {
			more = fmt.Sprintf(`,"owner":%q`, owner)
		}
		made := w.issue(strings.ReplaceAll(name, ":", "-"), scopes, more+`,"expires_in":"1h"`)
		parsed, err := access.ParseScopes(scopes)
		must(err)
		add(name, access.Principal{Kind: access.Platform, Owner: owner, Scopes: parsed}, session.Secret(made.Token))
		return made
	}
	every := access.ScopeNames()
	ofSessions := every[:5]

	late := addPlatform("expired-platform-token", "", every)
	all[0].who = access.Principal{}
	w.Clock.Advance(time.Hour)
	revoked := addPlatform("revoked-platform-token", "", every)
	all[1].who = access.Principal{}
	if a := w.call(http.MethodDelete, "/tokens/"+string(revoked.ID), adminToken, ""); a.status != http.StatusNoContent || late.Token == "" {
		w.t.Fatalf("revoke: got %d %s", a.status, a.body)
	}
	add("anonymous", access.Principal{}, "")
	add("wrong token", access.Principal{}, adminToken+"x")
	add("wrong platform token", access.Principal{}, session.Secret(late.Token+"x"))

	expired, token := hers()
	record, err := w.Get(w.t.Context(), expired)
	must(err)
	record.Token.ExpiresAt = w.Options.Now().Add(-time.Microsecond)
	_, err = w.Store.Update(w.t.Context(), record, session.Unlimited)
	must(err)
	must(w.Reconcile(w.t.Context()))
	all = append(all, caller{"expired session token", access.Principal{}, token, expired})
	rotated, token := hers()
	_, _, err = w.Rotate(w.t.Context(), rotated)
	must(err)
	all = append(all, caller{"rotated session token", access.Principal{}, token, rotated})
	graced, token := hers()
	_, _, err = w.RotateWithGrace(w.t.Context(), graced, time.Minute)
	must(err)
	all = append(all, caller{"previous session token", access.Principal{Kind: access.PreviousToken, Session: graced}, token, graced})
	other, token := hers()
	add("another session's token", access.Principal{Kind: access.SessionToken, Session: other}, token)
	own, token := hers()
	all = append(all, caller{"session token", access.Principal{Kind: access.SessionToken, Session: own}, token, own})

	paired, _ := hers()
	add("another session's device", access.Principal{Kind: access.Device, Session: paired}, w.pair(paired))
	all = append(all, caller{"device", access.Principal{Kind: access.Device, Session: paired}, w.pair(paired), paired})

	add("operator", access.Principal{Kind: access.Operator}, adminToken)
	add("owner", access.Principal{Kind: access.Owner, Owner: "alice"}, alicesToken)
	add("another owner", access.Principal{Kind: access.Owner, Owner: "bob"}, bobsToken)
	addPlatform("platform-token", "", every)
	addPlatform("bound-platform-token", "alice", ofSessions)
	addPlatform("platform-token-of-another-owner", "bob", ofSessions)
	for _, scope := range every {
		addPlatform(scope, "", []string{scope})
	}
	return all
}

// pair pairs a device with a session, and returns its token.
func (w *fixture) pair(id session.ID) session.Secret {
	w.t.Helper()
	authority := w.admitting(nil)
	_, code := authority.NewPairingCode()
	token, device := authority.NewDevice("phone")
	if err := errors.Join(
		w.NewPairing(w.t.Context(), id, session.Link{Digest: code}), w.Redeem(w.t.Context(), id, code, "", device),
	); err != nil {
		w.t.Fatal(err)
	}
	return token
}

func TestPermissionsOfEveryRouteForEveryPrincipal(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	routes := map[string]access.Verb{
		"GET /s/{id}/echo": access.Open, "POST /s/{id}/session": access.Open,
		"POST /s/{id}/api/pair": access.Pair, "GET /s/{id}/auth/connect/no-code": access.Status,
	}
	for _, r := range w.api.Routes() {
		name := r.Method + " " + r.Path
		routes[name] = r.Verb
		if row, ok := rows[name]; !ok || row.verb != r.Verb {
			t.Errorf("%s needs the verb %d; its row has %d (there is one: %v)", name, r.Verb, row.verb, ok)
		}
	}
	for route, row := range rows {
		if _, ok := routes[route]; !ok {
			t.Errorf("%s has a row and does not exist", route)
			continue
		}
		t.Run(route, func(t *testing.T) {
			t.Parallel()
			w := newFixture(t)
			method, path, _ := strings.Cut(route, " ")
			for _, c := range w.callers() {
				want := c.wants(row.verb, row.status)
				a := w.call(method, strings.Replace(path, "{id}", string(c.id), 1), c.token.Reveal(), row.body)
				if a.status != want {
					t.Errorf("%s: got %d %s, want %d", c.name, a.status, a.body, want)
				}
				if a.status == http.StatusUnauthorized && !strings.Contains(strings.Join(a.header.Values("WWW-Authenticate"), ","), "Bearer ") {
					t.Errorf("%s: got no WWW-Authenticate", c.name)
				}
			}
		})
	}
}
