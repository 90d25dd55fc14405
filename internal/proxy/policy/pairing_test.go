package policy

import (
	"net/url"
	"path"
	"strings"
	"testing"
	"time"
)

func TestPairingPathsOfOtherCallsAreForwarded(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"/api/pairs", "/api/pair/x", "/api", "/pair", "/x/api/pair", "/auth", "/auth/connected", "/auth/anthropic", "/connect/auth",
		"/session/ses_1/api/pair", "/file/api%2Fpair/x",
	} {
		if isPairing(raw) {
			t.Errorf("%s is refused as pairing", raw)
		}
	}
}

// FuzzPairingIsUnreachable compares with how servers read a path: Go's, and those that read it as browsers do (WHATWG URL standard).
func FuzzPairingIsUnreachable(f *testing.F) {
	for _, raw := range []string{
		"/api/pair", "/auth/connect/x", "/x%2Fy/%2e%2E/api/pair", "//auth/./connect", "/a;b/../api/pair", "/%61pi/pair/", `/api\pair`,
		"/auth/connect/../../x", "/api%2fpair", "/%2e%2e/api/pair", "/auth/connect;x=1/y",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if !strings.HasPrefix(raw, "/") {
			return
		}
		target, err := Target{Path: raw}.At("server")
		if err != nil {
			return // it is not forwarded
		}
		sent := target.EscapedPath()
		if !readsAsPairing(path.Clean(target.Path)) && !readsAsPairing(asBrowsersRead(sent)) {
			return
		}
		q := testRequest("POST", raw, nil)
		if v := testRoute().Judge(q, holder, Rules{MaxBody: 10}, time.Now()); v.Action != Refuse {
			t.Errorf("%q was judged %+v", raw, v)
		}
	})
}

func readsAsPairing(decoded string) bool {
	decoded = strings.ToLower(strings.TrimSuffix(decoded, "/"))
	return decoded == "/api/pair" || decoded == "/auth/connect" || strings.HasPrefix(decoded, "/auth/connect/")
}

// asBrowsersRead resolves dot segments before anything else is unescaped.
func asBrowsersRead(raw string) string {
	var kept []string
	for segment := range strings.SplitSeq(strings.TrimPrefix(raw, "/"), "/") {
		switch strings.ReplaceAll(strings.ToLower(segment), "%2e", ".") {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			decoded, err := url.PathUnescape(segment)
			if err != nil {
				decoded = segment
			}
			kept = append(kept, decoded)
		}
	}
	return "/" + strings.Join(kept, "/")
}
