package policy

import (
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/outcome"
	"berth/internal/session"
)

const (
	testID      = session.ID("ses-one")
	testAddress = "10.0.0.2:4096"
)

var holder = access.Principal{Kind: access.SessionToken, Session: testID}

// testRoute is the route of a running session.
func testRoute(change ...func(*session.Route)) *Route {
	r := session.Route{
		ID: testID, Address: testAddress, Username: "opencode", Credential: "password", Running: true,
		Profile: &session.Profile{Blocked: []string{"POST /global/upgrade"}, Silent: []string{"/session/*/message"}},
	}
	for _, f := range change {
		f(&r)
	}
	return NewRoute(r)
}

// testRequest is a request by path, as a client sends it.
func testRequest(method, path string, header Header) *Request {
	if header == nil {
		header = Header{}
	}
	return &Request{
		ID: "req-1", Method: method, Place: Place{Session: testID, Prefix: "/s/ses-one", Path: path}, Host: "berth.example",
		Header: header, HTTP11: true, Scheme: "https",
	}
}

func stoppedAsIdle(r *session.Route) { r.Running, r.Wakes, r.Address = false, true, "" }

func TestJudge(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	stopped := func(r *session.Route) { r.Running, r.Address = false, "" }
	restarting := func(r *session.Route) { r.Running, r.StartsAt = false, now.Add(10*time.Second) }
	foreign := Header{"Origin": {"https://evil.example"}}
	page := Header{"Accept": {"text/html,*/*"}, "Sec-Fetch-Mode": {"navigate"}}
	handshake := Header{"Connection": {"keep-alive, upgrade"}, "Upgrade": {"WebSocket"}}
	rules := Rules{MaxBody: 10, Wake: true}

	for name, c := range map[string]struct {
		route   *Route
		request *Request
		who     access.Principal
		rules   Rules
		want    Verdict
		code    session.Code
	}{
		"ordinary":                        {testRoute(), testRequest("GET", "/", nil), holder, rules, Verdict{Action: Forward}, ""},
		"previous token":                  {testRoute(), testRequest("GET", "/", nil), access.Principal{Kind: access.PreviousToken, Session: testID}, rules, Verdict{Action: Forward}, ""},
		"no principal":                    {testRoute(), testRequest("GET", "/", nil), access.Principal{}, rules, Verdict{}, session.CodeUnauthorized},
		"operator":                        {testRoute(), testRequest("GET", "/", nil), access.Principal{Kind: access.Operator}, rules, Verdict{}, session.CodeUnauthorized},
		"another session's token":         {testRoute(), testRequest("GET", "/", nil), access.Principal{Kind: access.SessionToken, Session: "ses-two"}, rules, Verdict{}, session.CodeUnauthorized},
		"another session's route":         {testRoute(func(r *session.Route) { r.ID = "ses-two" }), testRequest("GET", "/", nil), access.Principal{Kind: access.SessionToken, Session: "ses-two"}, rules, Verdict{}, session.CodeUnauthorized},
		"no principal, stopped":           {testRoute(stopped), testRequest("POST", "/global/upgrade", foreign), access.Principal{}, rules, Verdict{}, session.CodeUnauthorized},
		"stopped":                         {testRoute(stopped), testRequest("POST", "/global/upgrade", foreign), holder, rules, Verdict{}, session.CodeNotRunning},
		"restarting":                      {testRoute(restarting), testRequest("GET", "/", nil), holder, rules, Verdict{}, session.CodeNotRunning},
		"stopped as idle":                 {testRoute(stoppedAsIdle), testRequest("GET", "/", nil), holder, rules, Verdict{Action: Wait}, session.CodeNotRunning},
		"stopped as idle, a page":         {testRoute(stoppedAsIdle), testRequest("GET", "/", page), holder, rules, Verdict{Action: ShowPage}, session.CodeNotRunning},
		"stopped as idle, a form":         {testRoute(stoppedAsIdle), testRequest("POST", "/", page), holder, rules, Verdict{Action: Wait}, session.CodeNotRunning},
		"stopped as idle, no wake":        {testRoute(stoppedAsIdle), testRequest("GET", "/", page), holder, Rules{MaxBody: 10}, Verdict{Action: ShowPage}, session.CodeNotRunning},
		"stopped, a page":                 {testRoute(stopped), testRequest("GET", "/", page), holder, rules, Verdict{Action: ShowPage}, session.CodeNotRunning},
		"stopped as idle, a foreign page": {testRoute(stoppedAsIdle), testRequest("POST", "/", foreign), holder, rules, Verdict{}, session.CodeForbidden},
		"a foreign page":                  {testRoute(), testRequest("POST", "/", foreign), holder, rules, Verdict{}, session.CodeForbidden},
		"a foreign page reads":            {testRoute(), testRequest("GET", "/", foreign), holder, rules, Verdict{Action: Forward}, ""},
		"own page":                        {testRoute(), testRequest("POST", "/", Header{"Origin": {"https://berth.example"}}), holder, rules, Verdict{Action: Forward}, ""},
		"blocked":                         {testRoute(), testRequest("POST", "//global/%75pgrade", nil), holder, rules, Verdict{}, session.CodeForbidden},
		"silent":                          {testRoute(), testRequest("POST", "/session/x/message", nil), holder, rules, Verdict{Action: Forward, Silent: true}, ""},
		"events":                          {testRoute(), testRequest("GET", "/event", Header{"Accept": {"text/event-stream"}}), holder, rules, Verdict{Action: Forward, Silent: true}, ""},
		"too large":                       {testRoute(), withLength(testRequest("POST", "/", nil), 11), holder, rules, Verdict{}, session.CodeTooLarge},
		"just small enough":               {testRoute(), withLength(testRequest("POST", "/", nil), 10), holder, rules, Verdict{Action: Forward}, ""},
		"of unknown length":               {testRoute(), withLength(testRequest("POST", "/", nil), -1), holder, rules, Verdict{Action: Forward}, ""},
		"WebSocket":                       {testRoute(), testRequest("GET", "/pty", handshake), holder, rules, Verdict{Action: Forward, WebSocket: true, Silent: true}, ""},
		"WebSocket by POST":               {testRoute(), testRequest("POST", "/pty", handshake), holder, rules, Verdict{Action: Forward}, ""},
		"WebSocket with a content":        {testRoute(), withLength(testRequest("GET", "/pty", handshake), 1), holder, rules, Verdict{Action: Forward}, ""},
		"h2c":                             {testRoute(), testRequest("GET", "/", Header{"Connection": {"Upgrade"}, "Upgrade": {"h2c"}}), holder, rules, Verdict{Action: Forward}, ""},
		"two upgrades":                    {testRoute(), testRequest("GET", "/", Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket", "h2c"}}), holder, rules, Verdict{Action: Forward}, ""},
		"upgrade beside the point":        {testRoute(), testRequest("GET", "/", Header{"Upgrade": {"websocket"}}), holder, rules, Verdict{Action: Forward}, ""},
	} {
		got := c.route.Judge(c.request, c.who, c.rules, now)
		if code := codeOf(got.Reason); code != c.code {
			t.Errorf("%s: got reason %v, want %q", name, got.Reason, c.code)
		}
		got.Reason = nil
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
	if got := testRoute(restarting).NotRunning(now); outcome.RetryAfter(got) != 12*time.Second {
		t.Errorf("a server that starts in 10 s: Retry-After is %v, want 12 s", outcome.RetryAfter(got))
	}
}

func codeOf(err error) session.Code {
	if err == nil {
		return ""
	}
	return session.CodeOf(err)
}

func withLength(q *Request, length int64) *Request {
	q.Length = length
	return q
}

func TestMethodAllowedRejectsConnectAndTrace(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]session.Code{
		"CONNECT": session.CodeMethod, "TRACE": session.CodeMethod, "trace": session.CodeMethod, "Connect": session.CodeMethod, "GET": "", "BREW": "", "TRACES": "",
	} {
		if got := codeOf(MethodAllowed(method)); got != want {
			t.Errorf("%s: got %q, want %q", method, got, want)
		}
	}
}

func TestByPathFindsPlace(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]Place{
		"/s/ses-one/":           {Session: testID, Prefix: "/s/ses-one", Path: "/"},
		"/s/ses-one/a%2F../b//": {Session: testID, Prefix: "/s/ses-one", Path: "/a%2F../b//"},
		"/s/ses-one":            {Session: testID, Prefix: "/s/ses-one", Path: ""},
		"/s/ses-one//":          {Session: testID, Prefix: "/s/ses-one", Path: "//"},
		"/s/":                   {},
		"/s/ses%2Done/":         {},
		"/s/SES-ONE/":           {},
		"/s/ses-one%2Fx/":       {},
		"/S/ses-one/":           {},
		"/x":                    {},
		"":                      {},
	} {
		got, err := ByPath(raw)
		if got != want || (codeOf(err) == session.CodeNotFound) != (want == Place{}) {
			t.Errorf("%q: got %+v, %v; want %+v", raw, got, err, want)
		}
	}
}
