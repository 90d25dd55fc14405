package policy

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
)

func TestAnswer(t *testing.T) {
	t.Parallel()
	byPath := testRequest("GET", "/deep/page", nil)
	byHost := testRequest("GET", "/deep/page", nil)
	byHost.Place.Prefix = ""
	socket := Verdict{Action: Forward, WebSocket: true}
	switching := func() Header {
		return Header{"Connection": {"X-Hop, Upgrade"}, "Upgrade": {"WebSocket"}, "X-Hop": {"1"}}
	}

	for name, c := range map[string]struct {
		request *Request
		verdict Verdict
		answer  Response
		want    Header // nil: nothing is passed on
	}{
		"ordinary": {byPath, Verdict{}, Response{Status: 200, Header: Header{"Etag": {"x"}, "Content-Length": {"2"}}}, Header{"Etag": {"x"}, "Content-Length": {"2"}}},
		"hop by hop": {byPath, Verdict{}, Response{Status: 200, Connection: []string{"close, x-hop"}, Header: Header{
			"Connection": {"X-Other"}, "X-Hop": {"1"}, "X-Other": {"2"}, "Keep-Alive": {"timeout=5"}, "Proxy-Authenticate": {"Basic"}, "Upgrade": {"h2c"}, "Etag": {"x"},
		}}, Header{"Etag": {"x"}}},
		"other origins": {byPath, Verdict{}, Response{Status: 200, Header: Header{
			"Clear-Site-Data": {"*"}, "X-Accel-Redirect": {"/etc"}, "X-Accel-Buffering": {"no"}, "Www-Authenticate": {"Basic"}, "X-Request-Id": {"theirs"},
			"Cloudflare-Cdn-Cache-Control": {"max-age=9"}, "X-Berth-Operator": {"yes"},
		}}, Header{"X-Accel-Buffering": {"no"}}},
		"buffering": {byPath, Verdict{}, Response{Status: 200, Header: Header{"X-Accel-Buffering": {"yes"}}}, Header{}},
		"under a prefix": {byPath, Verdict{}, Response{Status: 302, Header: Header{
			"Location": {"/login"}, "Content-Location": {"../x"}, "Set-Cookie": {"a=b; Path=/; Domain=example.com", "berth_session=x"},
		}}, Header{"Location": {"/s/ses-one/login"}, "Content-Location": {"/s/ses-one/x"}, "Set-Cookie": {"a=b; Path=/s/ses-one/"}}},
		"to its own host": {
			byPath,
			Verdict{},
			Response{Status: 302, Header: Header{"Location": {"http://" + testAddress + "/x"}, "Content-Location": {"https://berth.example/x"}}},
			Header{"Location": {"/s/ses-one/x"}, "Content-Location": {"/s/ses-one/x"}},
		},
		"ambiguous": {byPath, Verdict{}, Response{Status: 302, Header: Header{"Location": {"http:x"}}}, Header{}},
		"on an origin of its own": {byHost, Verdict{}, Response{Status: 302, Header: Header{
			"Location": {"/login"}, "Content-Location": {"http://" + testAddress + "/../x"}, "Set-Cookie": {"a=b; Path=/x"},
		}}, Header{"Location": {"/login"}, "Content-Location": {"/x"}, "Set-Cookie": {"a=b; Path=/x"}}},

		"WebSocket": {
			byPath, socket,
			Response{Status: 101, HTTP11: true, Header: switching()},
			Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}},
		},
		"WebSocket without a handshake": {byPath, Verdict{}, Response{Status: 101, HTTP11: true, Header: switching()}, nil},
		"WebSocket of HTTP/1.0":         {byPath, socket, Response{Status: 101, Header: switching()}, nil},
		"WebSocket without Connection":  {byPath, socket, Response{Status: 101, HTTP11: true, Header: Header{"Upgrade": {"websocket"}}}, nil},
		"another protocol":              {byPath, socket, Response{Status: 101, HTTP11: true, Header: Header{"Connection": {"Upgrade"}, "Upgrade": {"h2c"}}}, nil},
		"two protocols":                 {byPath, socket, Response{Status: 101, HTTP11: true, Header: Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket", "h2c"}}}, nil},
		"interim status":                {byPath, Verdict{}, Response{Status: 199, Header: Header{}}, nil},
		"no status of HTTP":             {byPath, Verdict{}, Response{Status: 600, Header: Header{}}, nil},
		"credential refused":            {byPath, Verdict{}, Response{Status: 401, Header: Header{}}, nil},
	} {
		err := testRoute().Answer(c.request, c.verdict, c.answer)
		if c.want == nil {
			if codeOf(err) != session.CodeUpstream {
				t.Errorf("%s: got %v, want it not passed on", name, err)
			}
			if refused := errors.Is(err, ErrCredentialRefused); refused != (c.answer.Status == 401) {
				t.Errorf("%s: got credential refused: %v", name, refused)
			}
			continue
		}
		if d := cmp.Diff(c.want, c.answer.Header); err != nil || d != "" {
			t.Errorf("%s: %v, header (-want +got):\n%s", name, err, d)
		}
	}
}

func TestAnswerInterim(t *testing.T) {
	t.Parallel()
	h := Header{
		"Connection": {"X-Hop"}, "X-Hop": {"1"}, "Transfer-Encoding": {"chunked"}, "Content-Length": {"5"}, "Link": {"</x>; rel=preload"}, "Clear-Site-Data": {"*"},
		"Set-Cookie": {"a=b; Path=/"},
	}
	testRoute().AnswerInterim(testRequest("GET", "/", nil), h)
	if d := cmp.Diff(Header{"Link": {"</x>; rel=preload"}, "Set-Cookie": {"a=b; Path=/s/ses-one/"}}, h); d != "" {
		t.Errorf("header (-want +got):\n%s", d)
	}
}

func TestTrailersHaveAShortList(t *testing.T) {
	t.Parallel()
	h := Header{"Content-Digest": {"d"}, "Grpc-Status": nil, "Location": {"/x"}, "Authorization": {"Basic eDp5"}, "X-Custom": {"c"}}
	FilterTrailer(h)
	if d := cmp.Diff(Header{"Content-Digest": {"d"}, "Grpc-Status": nil}, h); d != "" {
		t.Errorf("trailer (-want +got):\n%s", d)
	}
	if MayTrail("X-Forwarded-For") || !MayTrail("Content-Digest") {
		t.Error("requests have a different list")
	}
}

func TestEventStreams(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]bool{
		"text/event-stream": true, "Text/Event-Stream; charset=utf-8": true, "text/event-streams": false, "text/plain": false, "": false,
	} {
		if got := IsEventStream(Header{"Content-Type": {kind}}); got != want {
			t.Errorf("%q: got %v, want %v", kind, got, want)
		}
	}
}
