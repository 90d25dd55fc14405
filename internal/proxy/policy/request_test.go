package policy

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A server that turns headers into variables cannot distinguish these from the ones with hyphens.
func TestForwardingHeadersWithUnderscoresAreNotPassedOn(t *testing.T) {
	t.Parallel()
	h := Header{"X_forwarded_for": {"6.6.6.6"}, "X_Forwarded-Proto": {"https"}, "X_real_ip": {"6.6.6.6"}, "X_berth_session": {"x"}, "My_header": {"kept"}}
	sanitizeRequest(h)
	if len(h) != 1 || h.get("My_header") != "kept" {
		t.Errorf("got %v, want My_header only", h)
	}
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	credential := []string{"Basic b3BlbmNvZGU6cGFzc3dvcmQ="}
	byHost := testRequest("GET", "/a", nil)
	byHost.Place.Prefix = ""
	named := testRequest("GET", "/a%2Fb//", nil)
	named.Target = Target{Path: "/s/ses-one/a%2Fb//", Query: "x=1&auth%5Ftoken=secret&y"}
	named.Client = netip.MustParseAddr("2001:db8::1")

	for name, c := range map[string]struct {
		request *Request
		verdict Verdict
		header  Header
		want    Header // in addition to those that every request gets
		target  Target
	}{
		"bare": {testRequest("GET", "/", nil), Verdict{}, Header{}, Header{"X-Forwarded-Prefix": {"/s/ses-one"}}, Target{Path: "/"}},
		"path, query and client": {
			named,
			Verdict{},
			Header{},
			Header{"X-Forwarded-Prefix": {"/s/ses-one"}, "X-Forwarded-For": {"2001:db8::1"}},
			Target{Path: "/a%2Fb//", Query: "x=1&y"},
		},
		"an origin of its own": {byHost, Verdict{}, Header{}, Header{}, Target{Path: "/a"}},
		"what the client claims": {byHost, Verdict{}, Header{
			"Authorization": {"Bearer token", "Basic eDp5"}, "Forwarded": {"for=1.2.3.4"}, "X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Port": {"1"},
			"X-Forwarded-Proto": {"http"}, "X-Forwarded-Prefix": {"/"}, "X-Real-Ip": {"1.2.3.4"}, "X-Berth-Admin": {"yes"}, "X-Request-Id": {"mine"}, "X_forwarded_for": {"1.2.3.4"},
		}, Header{}, Target{Path: "/a"}},
		"cookies": {byHost, Verdict{}, Header{"Cookie": {"a=b; berth_session=secret", "__Secure-Berth_x=y"}}, Header{"Cookie": {"a=b"}}, Target{Path: "/a"}},
		"hop by hop": {byHost, Verdict{}, Header{
			"Connection": {"X-Hop, keep-alive", "Authorization,X-Request-Id"}, "X-Hop": {"1"}, "Keep-Alive": {"timeout=5"}, "Te": {"gzip"}, "Trailer": {"X"},
			"Transfer-Encoding": {"chunked"}, "Upgrade": {"h2c"}, "Proxy-Authorization": {"Basic eDp5"}, "Proxy-Connection": {"close"}, "Expect": {"100-continue"}, "Accept": {"*/*"},
		}, Header{"Accept": {"*/*"}}, Target{Path: "/a"}},
		"trailers": {byHost, Verdict{}, Header{"Connection": {"TE"}, "Te": {"trailers, gzip"}}, Header{"Te": {"trailers"}}, Target{Path: "/a"}},
		"WebSocket": {
			byHost,
			Verdict{WebSocket: true},
			Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"WebSocket"}, "Sec-Websocket-Key": {"k"}},
			Header{"Connection": {"Upgrade"}, "Upgrade": {"WebSocket"}, "Sec-Websocket-Key": {"k"}},
			Target{Path: "/a"},
		},
	} {
		target := testRoute().Rewrite(c.request, c.verdict, c.header)
		c.want["Authorization"], c.want["X-Request-Id"] = credential, []string{"req-1"}
		c.want["X-Forwarded-Host"], c.want["X-Forwarded-Proto"] = []string{"berth.example"}, []string{"https"}
		if d := cmp.Diff(c.want, c.header); d != "" {
			t.Errorf("%s: header (-want +got):\n%s", name, d)
		}
		if target != c.target {
			t.Errorf("%s: got target %+v, want %+v", name, target, c.target)
		}
	}
}
