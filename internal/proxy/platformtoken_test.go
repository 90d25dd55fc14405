package proxy

import (
	"bufio"
	"net/http"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/origin"
	"berth/internal/session"
	"berth/internal/storetest"
)

// A platform whose token is revoked must not stay in by the browsers and the devices that it has let in.
func TestSignInByPlatformTokenEndsWithTheToken(t *testing.T) {
	t.Parallel()
	tokens, err := access.OpenRegistry(t.Context(), access.RegistryOptions{Store: &storetest.MemoryTokens{}, Keys: testKeys(t)})
	if err != nil {
		t.Fatal(err)
	}
	made, _, err := tokens.Create(t.Context(), access.TokenRequest{Name: "platform", Scopes: access.ScopeOpen})
	if err != nil {
		t.Fatal(err)
	}
	signIns := &fakeSignIns{}
	w := setup(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("data: one\n"))
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/event" {
			<-r.Context().Done()
		}
	}, func(o *Options) {
		o.SignIns, o.SignInLife, o.Access = signIns, time.Hour, admitting(t, access.Options{Tokens: tokens})
	})
	signIns.w = w
	value, digest := w.proxy.access.NewSignIn("browser")
	digest.Token, digest.ExpiresAt = string(made.ID), time.Now().Add(time.Hour)
	device, paired := w.proxy.access.NewDevice("device")
	paired.Token, paired.ExpiresAt = string(made.ID), time.Now().Add(time.Hour)
	err = signIns.change(testID, func(s session.Session) (session.Session, bool) {
		s = s.Linked(session.Link{Digest: w.proxy.access.Keys.CodeDigest("of-the-token"), Token: string(made.ID), ExpiresAt: time.Now().Add(time.Hour)}, time.Now())
		return s.SignedIn(digest, time.Now()).SignedIn(paired, time.Now()), true
	})
	if err != nil {
		t.Fatal(err)
	}
	w.proxy.rules.Devices = true
	browser := append([]string{"Cookie", "__Host-berth-ses-one=" + value.Reveal()}, fromOwnPage...)
	program := []string{"Authorization", "Bearer " + device.Reveal()}
	own := w.signedIn(t, "token="+testToken.Reveal())
	var streams []*bufio.Reader
	for _, header := range [][]string{browser, program} {
		res, err := w.client.Do(w.browses(t, http.MethodGet, "/event", "", header...))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		stream := bufio.NewReader(res.Body)
		if line, err := stream.ReadString('\n'); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%v: got %s, %q, %v", header, res.Status, line, err)
		}
		streams = append(streams, stream)
	}
	if _, err := tokens.Revoke(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	ended := time.Now()
	for _, stream := range streams {
		if _, err := stream.ReadByte(); err == nil || time.Since(ended) > time.Second {
			t.Errorf("got %v after %v, want the stream to end within a second", err, time.Since(ended))
		}
	}
	if a := w.do(t, w.browses(t, http.MethodPost, origin.SignIn, "code=of-the-token", typed...)); a.status != http.StatusUnauthorized || a.header.Get("Set-Cookie") != "" {
		t.Errorf("a link of the token: got %d and the cookie %q", a.status, a.header.Get("Set-Cookie"))
	}
	for _, header := range [][]string{browser, program} {
		w.do(t, w.browses(t, http.MethodGet, "/x", "", header...)).mustBe(t, http.StatusUnauthorized, session.CodeUnauthorized, "after the revocation")
	}
	if a := w.do(t, w.browses(t, http.MethodGet, "/x", "", append([]string{"Cookie", own}, fromOwnPage...)...)); a.status != http.StatusOK {
		t.Errorf("a sign-in with the session's own token: got %d, want it to go on", a.status)
	}
}
