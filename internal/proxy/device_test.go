package proxy

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/devicetest"
	"berth/internal/origin"
	"berth/internal/proxy/policy"
	"berth/internal/session"
)

func withDevices(o *Options) { o.Devices = true }

// server2 answers as a server of OpenCode's 2.x line does, and fails the test for a call of its own pairing.
func server2(t *testing.T) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/api/event":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, ": heartbeat\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case strings.Contains(strings.ToLower(r.URL.Path), "pair"), strings.Contains(strings.ToLower(r.URL.Path), "connect"):
			t.Errorf("the server got %s %s", r.Method, r.URL)
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{}`)
		}
	}
}

// client2 is a client of the 2.x line with the session's token.
func (w *fixture) client2(t *testing.T) *devicetest.Client {
	t.Helper()
	c, err := devicetest.New(ownOrigin+"/a/path/that/it/drops", w.front.Listener.Addr().String(), testToken.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// must returns a function that returns its first argument, and fails the test for an error.
func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// refused reports whether err is an answer with this status.
func refused(err error, status int) bool {
	answer, ok := errors.AsType[*devicetest.StatusError](err)
	return ok && answer.Status == status
}

func TestDevicePairsAndUsesItsToken(t *testing.T) {
	t.Parallel()
	w, signIns := signingIn(t, server2(t), withDevices)
	c := w.client2(t)
	if err := c.Info(t.Context()); err != nil {
		t.Fatal(err)
	}
	device := must[*devicetest.Client](t)(c.Paired(t.Context(), "phone\x00 of mine"))
	if err := device.Info(t.Context()); err != nil {
		t.Errorf("its token as the password: %v", err)
	}
	bearer := device.As("")
	bearer.Header = map[string]string{"Authorization": "Bearer " + device.Password}
	if err := bearer.Info(t.Context()); err != nil {
		t.Errorf("its token as Bearer: %v", err)
	}
	if all := signIns.s.SignIns; len(all) != 1 || !all[0].Device || all[0].Browser != "phone of mine" || strings.Contains(all[0].Digest, device.Password) {
		t.Errorf("recorded %+v", all)
	}
	if _, err := c.Paired(t.Context(), ""); err != nil || signIns.s.SignIns[1].Browser != c.Agent {
		t.Errorf("a device without a name: %v, %+v", err, signIns.s.SignIns)
	}
	events := must[<-chan string](t)(device.Events(t.Context()))
	if line := <-events; line != ": heartbeat" {
		t.Errorf("its event stream began with %q", line)
	}
}

func TestPairingCodeSignsABrowserIn(t *testing.T) {
	t.Parallel()
	w, signIns := signingIn(t, server2(t), withDevices)
	c := w.client2(t)
	code := must[string](t)(c.Pair(t.Context(), ""))
	cookie, landing, err := c.Browse(t.Context(), code)
	if err != nil || landing != "/" || len(signIns.s.SignIns) != 1 || signIns.s.SignIns[0].Device {
		t.Fatalf("got %v to %q, %v; recorded %+v", cookie, landing, err, signIns.s.SignIns)
	}
	got := w.do(t, w.browses(t, http.MethodGet, "/api/info", "", append([]string{"Cookie", cookie.Name + "=" + cookie.Value}, fromOwnPage...)...))
	if got.status != http.StatusOK {
		t.Errorf("with the cookie: got %d", got.status)
	}
	if _, _, err := c.Browse(t.Context(), code); !refused(err, http.StatusUnauthorized) {
		t.Errorf("the code a second time: %v", err)
	}
}

// Whoever only looks at an address does not use its code up.
func TestPairingCodeIsNotUsedUpByAPreview(t *testing.T) {
	t.Parallel()
	w, _ := signingIn(t, server2(t), withDevices)
	c := w.client2(t)
	code := must[string](t)(c.Pair(t.Context(), ""))
	for _, accept := range []string{"*/*", "text/html", ""} {
		res, err := c.As("").Do(t.Context(), http.MethodGet, origin.Connect+code, "", "Accept", accept)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	head, err := c.As("").Do(t.Context(), http.MethodHead, origin.Connect+code, "")
	if err != nil || head.StatusCode != http.StatusUnauthorized {
		t.Errorf("HEAD: %v, %v", head, err)
	}
	if _, err := c.Connect(t.Context(), code); err != nil {
		t.Error(err)
	}
}

// Pages that an agent has made have the cookie, and whatever else a browser keeps for their origin.
func TestPageOfTheSessionCannotPair(t *testing.T) {
	t.Parallel()
	w, signIns := signingIn(t, server2(t), withDevices)
	cookie := w.signedIn(t, "token="+testToken.Reveal())
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("opencode:"+testToken.Reveal()))
	for name, c := range map[string]struct {
		header []string
		want   int
	}{
		"the cookie, from its page":       {append([]string{"Cookie", cookie}, fromOwnPage...), http.StatusForbidden},
		"the cookie, without Origin":      {[]string{"Cookie", cookie, "Origin", ""}, http.StatusUnauthorized},
		"kept Basic credentials":          {append([]string{"Authorization", basic}, fromOwnPage...), http.StatusForbidden},
		"kept Basic, over plain HTTP":     {[]string{"Authorization", basic}, http.StatusForbidden}, // Origin is that of the page
		"a page of another site":          {[]string{"Authorization", basic, "Origin", "https://evil.example"}, http.StatusForbidden},
		"a sandboxed page":                {[]string{"Authorization", basic, "Origin", "null"}, http.StatusForbidden},
		"a sibling's page, by its cookie": {[]string{"Cookie", cookie, "Origin", "http://ses-two.localhost", "Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
	} {
		r := w.browses(t, http.MethodPost, origin.Pair, "", c.header...)
		if r.Header.Get("Origin") == "" {
			r.Header.Del("Origin")
		}
		if got := w.do(t, r); got.status != c.want || strings.Contains(got.body, `"code":"`) && got.status == http.StatusOK {
			t.Errorf("%s: got %d %s, want %d", name, got.status, got.body, c.want)
		}
	}
	code := must[string](t)(w.client2(t).Pair(t.Context(), ""))
	got := w.do(t, w.browses(t, http.MethodGet, origin.Connect+code, "", append([]string{"Accept", "application/json"}, fromOwnPage...)...))
	if got.status != http.StatusForbidden || len(signIns.s.SignIns) != 1 {
		t.Errorf("a page with a code: got %d %s; recorded %+v", got.status, got.body, signIns.s.SignIns)
	}
}

// A client that is a page of its own origin sends its credential itself.
func TestDesktopClientPairs(t *testing.T) {
	t.Parallel()
	w, _ := signingIn(t, server2(t), withDevices, func(o *Options) { o.CrossOrigins = []string{"oc://renderer"} })
	c := w.client2(t)
	c.Header = map[string]string{"Origin": "oc://renderer", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
	device := must[*devicetest.Client](t)(c.Paired(t.Context(), "desktop"))
	if err := device.Info(t.Context()); err != nil {
		t.Error(err)
	}
}

// Until the new token is used, the one before works: the answer that had the new one may have been lost.
func TestRenewedTokenReplacesThePreviousOneWhenItIsUsed(t *testing.T) {
	t.Parallel()
	w, signIns := signingIn(t, server2(t), withDevices)
	device := must[*devicetest.Client](t)(w.client2(t).Paired(t.Context(), "phone"))
	lost := must[*devicetest.Client](t)(device.Paired(t.Context(), ""))
	if err := device.Info(t.Context()); err != nil {
		t.Errorf("the previous token, before the new one was used: %v", err)
	}
	renewed := must[*devicetest.Client](t)(device.Paired(t.Context(), ""))
	if err := lost.Info(t.Context()); !refused(err, http.StatusUnauthorized) {
		t.Errorf("a new token that was replaced unused: %v", err)
	}
	stream := must[<-chan string](t)(device.Events(t.Context()))
	<-stream
	for range 2 {
		if err := renewed.Info(t.Context()); err != nil {
			t.Errorf("the new token: %v", err)
		}
	}
	if err := device.Info(t.Context()); !refused(err, http.StatusUnauthorized) {
		t.Errorf("the previous token, after the new one was used: %v", err)
	}
	ends(t, stream)
	if all := signIns.s.SignIns; len(all) != 1 || all[0].Browser != "phone" {
		t.Errorf("recorded %+v, want one device under its name", all)
	}
	code := must[string](t)(renewed.Pair(t.Context(), ""))
	if _, _, err := renewed.Browse(t.Context(), code); err == nil {
		t.Error("a browser was signed in with the code with which a device renews its token")
	}
}

// ends requires that a stream ends within a second.
func ends(t *testing.T, stream <-chan string) {
	t.Helper()
	late := time.After(time.Second)
	for {
		select {
		case _, ok := <-stream:
			if !ok {
				return
			}
		case <-late:
			t.Error("the stream did not end within 1 s")
			return
		}
	}
}

func TestRevokedDeviceIsRefusedAndItsStreamEnds(t *testing.T) {
	t.Parallel()
	w, signIns := signingIn(t, server2(t), withDevices)
	c := w.client2(t)
	device := must[*devicetest.Client](t)(c.Paired(t.Context(), ""))
	other := must[*devicetest.Client](t)(c.Paired(t.Context(), ""))
	stream := must[<-chan string](t)(device.Events(t.Context()))
	<-stream
	code := must[string](t)(device.Pair(t.Context(), ""))
	if err := signIns.SignOut(t.Context(), testID, signIns.s.SignIns[0].ID); err != nil {
		t.Fatal(err)
	}
	ends(t, stream)
	if err := device.Info(t.Context()); !refused(err, http.StatusUnauthorized) {
		t.Errorf("its token: %v", err)
	}
	if _, err := device.Connect(t.Context(), code); !refused(err, http.StatusUnauthorized) {
		t.Errorf("its code: %v", err)
	}
	if err := other.Info(t.Context()); err != nil {
		t.Errorf("another device: %v", err)
	}
}

// Each secret is accepted as what it is, and as nothing else.
func TestSecretsOfDevicesBrowsersAndLinksAreNotInterchangeable(t *testing.T) {
	t.Parallel()
	w, signIns := signingIn(t, server2(t), withDevices)
	c := w.client2(t)
	device := must[*devicetest.Client](t)(c.Paired(t.Context(), ""))
	_, value, _ := strings.Cut(w.signedIn(t, "token="+testToken.Reveal()), "=")
	if err := c.As(value).Info(t.Context()); !refused(err, http.StatusUnauthorized) {
		t.Errorf("a cookie's value as a token: %v", err)
	}
	cookie := "__Host-berth-ses-one=" + device.Password
	if got := w.do(t, w.browses(t, http.MethodGet, "/api/info", "", append([]string{"Cookie", cookie}, fromOwnPage...)...)); got.status != http.StatusUnauthorized {
		t.Errorf("a device's token as a cookie: got %d", got.status)
	}
	for form, name := range map[string]string{
		"token=" + device.Password:                             "a device's token in the sign-in form",
		"code=" + must[string](t)(c.Pair(t.Context(), "")):     "a pairing code as a link",
		"pairing=" + url.QueryEscape(signIns.link(t).Reveal()): "a link as a pairing code",
	} {
		if got := w.do(t, w.browses(t, http.MethodPost, origin.SignIn, form)); got.status != http.StatusUnauthorized {
			t.Errorf("%s: got %d", name, got.status)
		}
	}
	if _, err := c.Connect(t.Context(), signIns.link(t).Reveal()); !refused(err, http.StatusUnauthorized) {
		t.Errorf("a link as a device's code: %v", err)
	}
}

func TestDevicesAreRefusedWhileTheSettingIsOff(t *testing.T) {
	t.Parallel()
	w, signIns := signingIn(t, server2(t))
	token, device := w.proxy.access.NewDevice("")
	if err := signIns.SignIn(t.Context(), testID, "", device); err != nil {
		t.Fatal(err)
	}
	c := w.client2(t)
	if err := c.As(token.Reveal()).Info(t.Context()); !refused(err, http.StatusUnauthorized) {
		t.Errorf("a token from before: %v", err)
	}
	_, err := c.Pair(t.Context(), "")
	if !refused(err, http.StatusForbidden) || !strings.Contains(err.Error(), "SESSION_DEVICES") {
		t.Errorf("pairing: %v, want what to do", err)
	}
	code, digest := w.proxy.access.NewPairingCode()
	if err := signIns.NewPairing(t.Context(), testID, session.Link{Digest: digest}); err != nil {
		t.Fatal(err)
	}
	if got := w.do(t, w.browses(t, http.MethodPost, origin.SignIn, "pairing="+code.Reveal())); got.status != http.StatusUnauthorized {
		t.Errorf("a code from before, as the page sends it: got %d", got.status)
	}
}

func TestGuessedPairingCodesAreThrottled(t *testing.T) {
	t.Parallel()
	throttle := access.NewThrottle()
	w, signIns := signingIn(t, server2(t), withDevices, func(o *Options) { o.Access = admitting(t, access.Options{Throttle: throttle}) })
	c := w.client2(t)
	wrong, limited := 0, 0
	for range 4 * access.Burst {
		switch _, err := c.Connect(t.Context(), "guess"); {
		case refused(err, http.StatusUnauthorized):
			wrong++
		case refused(err, http.StatusTooManyRequests):
			limited++
		default:
			t.Fatalf("got %v", err)
		}
	}
	if wrong == 0 || limited == 0 || len(signIns.s.SignIns) != 0 {
		t.Errorf("%d wrong, %d limited, recorded %v", wrong, limited, signIns.s.SignIns)
	}
	if _, err := c.Paired(t.Context(), ""); err != nil {
		t.Errorf("a real code from the same address: %v", err)
	}
}

func TestBodyOfAPairingRequestIsChecked(t *testing.T) {
	t.Parallel()
	w, _ := signingIn(t, server2(t), withDevices)
	c := w.client2(t)
	for body, want := range map[string]int{
		``: 200, `{}`: 200, `{"name":"x","other":1}`: 200, `{"name":1}`: 400, `[]`: 400, `x`: 400,
		`{"name":"` + strings.Repeat("x", 5000) + `"}`: 400,
	} {
		var got map[string]any
		err := c.Call(t.Context(), http.MethodPost, origin.Pair, body, &got)
		if ok := want == 200 && err == nil || refused(err, want); !ok {
			t.Errorf("%.30q: got %v, want %d", body, err, want)
		}
	}
}

// A server's own pairing is reachable by no way in, whether or not devices may pair with Berth.
func TestPairingOfTheServerIsUnreachable(t *testing.T) {
	t.Parallel()
	for _, devices := range []bool{false, true} {
		w, _ := signingIn(t, server2(t), func(o *Options) { o.Devices = devices })
		atPort := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.proxy.answerCall(rw, r, func(c *call) (policy.Place, error) {
				at, err := policy.AtRoot(testID, c.request.Target.Path)
				at.ByPort = true
				return at, err
			})
		}))
		t.Cleanup(atPort.Close)
		for _, call := range []string{
			"GET /api/pair", "PUT /api/pair", "POST /api/pair/", "POST //api//pair", "POST /API/Pair", "POST /api%2Fpair", "POST /%61pi/p%61ir",
			"POST /api/./pair", "POST /x/../api/pair", "POST /x%2Fy/%2e%2e/api/pair", "POST /api/pair;x=1", `POST /api\pair`, "POST /api/x/%2e%2E/pair",
			"POST /api/pair%2F", "HEAD /api/pair", "OPTIONS /api/pair", "PATCH /api;v=1/pair",
			"POST /auth/connect/code", "HEAD /auth/connect/code", "GET /auth/connect", "GET //auth/connect/code", "GET /Auth/connect/code",
			"GET /auth%2Fconnect%2Fcode", "GET /auth/connect%2Fcode", "GET /%61uth/connect/code", "GET /auth/x/../connect/code",
			"GET /auth/%2E/connect/code", "GET /x%2Fy/%2e%2e/auth/connect/code", "GET /auth/connect;x/code", `GET /auth\connect\code`,
			"GET /auth//connect/code", "GET /%61uth/connect/x/..", "DELETE /auth/connect/code/more",
		} {
			method, path, _ := strings.Cut(call, " ")
			for door, send := range map[string]func() answer{
				"by path":   func() answer { return w.raw(t, method, "/s/"+string(testID)+path) },
				"by name":   func() answer { return rawTo(t, w.front, string(testID)+".localhost", method, path) },
				"by a port": func() answer { return rawTo(t, atPort, "h", method, path) },
			} {
				if got := send(); got.status != http.StatusForbidden {
					t.Errorf("devices %v, %s %s: got %d %s, want 403", devices, door, call, got.status, got.body)
				}
			}
		}
	}
}
