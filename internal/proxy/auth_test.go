package proxy

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/access"
	"berth/internal/proxy/policy"
	"berth/internal/session"
)

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

//nolint:tparallel // the subtests share a fixture and check whether its server got the request
func TestSessionAcceptsOnlyItsOwnToken(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 100)
	w := setup(t, func(http.ResponseWriter, *http.Request) { asked <- struct{}{} })
	token := testToken.Reveal()
	other := w.route()
	other.ID, other.Token.Digest = "ses-two", w.keys.Digest("token-of-session-two")
	w.table.Set(other)

	for name, c := range map[string]struct {
		authorization []string
		query         string
		want          int
	}{
		"bearer":                    {[]string{"Bearer " + token}, "", 200},
		"bearer in lower case":      {[]string{"bearer " + token}, "", 200},
		"basic, any user":           {[]string{basic("git", token)}, "", 200},
		"basic, no user":            {[]string{basic("", token)}, "", 200},
		"none":                      {nil, "", 401},
		"empty bearer":              {[]string{"Bearer "}, "", 401},
		"empty basic":               {[]string{basic("", "")}, "", 401},
		"token as user":             {[]string{basic(token, "")}, "", 401},
		"wrong":                     {[]string{"Bearer " + token + "x"}, "", 401},
		"another session's":         {[]string{"Bearer token-of-session-two"}, "", 401},
		"no scheme":                 {[]string{token}, "", 401},
		"digest instead of token":   {[]string{"Bearer " + w.route().Token.Digest}, "", 401},
		"server's credential":       {[]string{basic(testUser, testGrant.Reveal())}, "", 401},
		"two headers":               {[]string{"Bearer " + token, "Bearer " + token}, "", 401},
		"in the query":              {nil, "?auth_token=" + token, 401},
		"in the query, like a user": {nil, "?auth_token=" + base64.StdEncoding.EncodeToString([]byte("x:"+token)), 200},
		"in the query, twice":       {nil, "?auth_token=" + base64.StdEncoding.EncodeToString([]byte("x:"+token)) + "&auth_token=", 401},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.request(t, http.MethodGet, "/x"+c.query, nil)
			r.Header.Del("Authorization")
			for _, v := range c.authorization {
				r.Header.Add("Authorization", v)
			}
			got := w.do(t, r)
			if got.status != c.want {
				t.Errorf("got %d, want %d\n%s", got.status, c.want, got.body)
			}
			if reached := len(asked) > 0; reached != (c.want == 200) {
				t.Errorf("request at the server: got %v, want %v", reached, c.want == 200)
			}
			for len(asked) > 0 {
				<-asked
			}
		})
	}
	if strings.Contains(w.logs.String(), token) || strings.Contains(w.logs.String(), testGrant.Reveal()) {
		t.Error("the log shows a token or a credential")
	}
}

func TestUnknownSessionAndWrongTokenGetSameResponse(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) { t.Error("the server got a request") })
	stopped := w.route()
	stopped.ID, stopped.Running = "ses-stopped", false
	w.table.Set(stopped)
	tokenless := w.route()
	tokenless.ID, tokenless.Token.Digest = "ses-tokenless", ""
	w.table.Set(tokenless)
	expired := w.route()
	expired.ID, expired.Token.ExpiresAt = "ses-expired", time.Now().Add(-time.Hour)
	w.table.Set(expired)

	ask := func(id session.ID, authorization string) answer {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.front.URL+"/s/"+string(id)+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", authorization)
		r.Header.Set("Origin", "https://evil.example")
		got := w.do(t, r)
		// Fields that differ in every response.
		got.body = strings.ReplaceAll(got.body, got.header.Get("X-Request-Id"), "REQUEST")
		got.header.Del("X-Request-Id")
		got.header.Del("Date")
		return got
	}
	want := ask("ses-no-such-session", "Bearer wrong")
	want.mustBe(t, 401, session.CodeUnauthorized, "an unknown session")
	if got := want.header["Www-Authenticate"]; !slices.Equal(got, []string{`Bearer realm="berth"`, `Basic realm="berth", charset="UTF-8"`}) {
		t.Errorf("WWW-Authenticate: got %q", got)
	}
	for _, id := range []session.ID{testID, stopped.ID, tokenless.ID, expired.ID} {
		if d := cmp.Diff(want, ask(id, "Bearer wrong"), cmp.AllowUnexported(answer{})); d != "" {
			t.Errorf("%s : response to a wrong token differs from that of an unknown session (-unknown +it):\n%s", id, d)
		}
	}
}

// Not parallel: testing.AllocsPerRun counts the allocations of the whole process.
//
//nolint:paralleltest // see above
func TestUnknownSessionAllocatesAsMuchAsWrongToken(t *testing.T) {
	w := setup(t, func(http.ResponseWriter, *http.Request) {})
	work := func(id session.ID) float64 {
		r := w.request(t, http.MethodGet, "/x", nil)
		r.Header.Set("Authorization", "Bearer wrong")
		return testing.AllocsPerRun(100, func() {
			_ = w.proxy.authenticate(&call{in: r, request: policy.Request{Place: policy.Place{Session: id}}})
		})
	}
	graced := w.route()
	graced.ID, graced.Token.PreviousDigest, graced.Token.PreviousExpiresAt = "ses-graced", w.keys.Digest("before"), time.Now().Add(time.Minute)
	w.table.Set(graced)
	unknown := work("ses-no-such-session")
	for _, id := range []session.ID{testID, graced.ID} {
		if known := work(id); known != unknown || known == 0 {
			t.Errorf("allocations: got %v for an unknown session, %v for %s: one digest is computed either way", unknown, known, id)
		}
	}
}

func TestTokenExpires(t *testing.T) {
	t.Parallel()
	expiry := time.Now().Add(time.Hour) // later than the end of this test
	now := expiry.Add(-time.Nanosecond)
	w := setup(t, func(http.ResponseWriter, *http.Request) {}, func(o *Options) {
		o.Access = admitting(t, access.Options{Now: func() time.Time { return now }})
	})
	route := w.route()
	route.Token.ExpiresAt = expiry
	w.table.Set(route)

	if got := w.get(t, "/"); got.status != 200 {
		t.Errorf("a nanosecond before the expiry: got %d, want 200", got.status)
	}
	now = expiry
	got := w.get(t, "/")
	got.mustBe(t, 401, session.CodeUnauthorized, "the token has expired")
	if !strings.Contains(got.body, "expired") {
		t.Errorf("the response does not say that the token has expired:\n%s", got.body)
	}
}

func TestSessionNotRunningReturnsReasonAndRetryAfter(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) { t.Error("the server got a request") })
	for name, test := range map[string]struct {
		startsIn time.Duration // 0: it is not started
		want     string
		earliest int // Retry-After, in seconds
	}{
		"stopped":                           {0, "ask whoever gave it to you to start it", 1},
		"waiting for its automatic restart": {40 * time.Second, "started again by itself in 40 s", 40},
		"being started":                     {-time.Second, "is being started; try again in a moment", 1},
	} {
		route := w.route()
		route.Running, route.Address = false, ""
		if test.startsIn != 0 {
			route.StartsAt = time.Now().Add(test.startsIn)
		}
		w.table.Set(route)
		got := w.get(t, "/")
		got.mustBe(t, 503, session.CodeNotRunning, "the token is right, the session "+name)
		retry, _ := strconv.Atoi(got.header.Get("Retry-After"))
		if !strings.Contains(got.body, test.want) || strings.Contains(got.body, "POST") || retry < test.earliest {
			t.Errorf("%s: the response does not say what the user can do: %v\n%s", name, got.header, got.body)
		}
	}
}

func TestNewReportsEveryFaultAtOnce(t *testing.T) {
	t.Parallel()
	_, err := New(Options{MaxBody: -1, Transport: Transport{ConnectTimeout: -1}})
	for _, want := range []string{"table", "access", "logger", "largest body", "limit of the connections"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %q", err, want)
		}
	}
}
