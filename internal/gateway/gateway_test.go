package gateway_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/gateway"
	"berth/internal/gateway/model"
	"berth/internal/session"
)

const token = session.Secret("the-token-of-this-session")

// here is the address that connections of these tests come from.
var here = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func route(id session.ID, from netip.Addr) session.Route {
	return session.Route{ID: id, Owner: "alice", ProfileName: "opencode", Caller: from, GatewayToken: token, Egress: session.EgressListed}
}

// served is a gateway that answers with who asked, and what it has refused.
type served struct {
	*gateway.Callers
	url string

	mu       sync.Mutex
	refusals []gateway.Refusal
}

func serve(t *testing.T, models gateway.Service) *served {
	t.Helper()
	s := &served{Callers: gateway.NewCallers(nil)}
	g := gateway.New(gateway.Options{
		Callers: s.Callers, Models: models, Logger: slog.New(slog.DiscardHandler),
		Refused: func(_ context.Context, r gateway.Refusal) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.refusals = append(s.refusals, r)
		},
	})
	l, err := gateway.Listen(t.Context(), netip.AddrPortFrom(here, 0))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = g.Shutdown(ctx)
	})
	s.url = "http://" + l.Addr().String()
	return s
}

// whoAsks answers with the session, and fails the test if a credential is left in the request.
func whoAsks(t *testing.T) gateway.Service {
	return gateway.ServiceFunc(func(w http.ResponseWriter, r *http.Request, c session.Caller) {
		for _, name := range []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key", "Proxy-Authorization"} {
			if r.Header.Get(name) != "" {
				t.Errorf("%s is left in the request", name)
			}
		}
		_, _ = io.WriteString(w, string(c.Session)+" "+c.Owner+" "+c.Address.String())
	})
}

func ask(t *testing.T, url string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestCallerNeedsItsAddressAndItsToken(t *testing.T) {
	t.Parallel()
	basic := base64.StdEncoding.EncodeToString([]byte("berth:" + token.Reveal()))
	for name, test := range map[string]struct {
		from   netip.Addr
		header []string
		status int
		rule   string
	}{
		"bearer":                    {here, []string{"Authorization", "Bearer " + token.Reveal()}, 200, ""},
		"password":                  {here, []string{"Authorization", "Basic " + basic}, 200, ""},
		"key of one API":            {here, []string{"X-Api-Key", token.Reveal()}, 200, ""},
		"key of another API":        {here, []string{"X-Goog-Api-Key", token.Reveal()}, 200, ""},
		"the same one twice":        {here, []string{"X-Api-Key", token.Reveal(), "Authorization", "Bearer " + token.Reveal()}, 200, ""},
		"none":                      {here, nil, 401, "token"},
		"an empty one":              {here, []string{"Authorization", "Bearer "}, 401, "token"},
		"another one":               {here, []string{"Authorization", "Bearer " + token.Reveal() + "x"}, 401, "token"},
		"two different ones":        {here, []string{"Authorization", "Bearer x", "X-Api-Key", token.Reveal()}, 401, "token"},
		"for a proxy":               {here, []string{"Proxy-Authorization", "Bearer " + token.Reveal()}, 401, "token"},
		"with another's address":    {netip.MustParseAddr("127.0.0.9"), []string{"X-Api-Key", token.Reveal()}, 403, "address"},
		"of a session that is down": {netip.Addr{}, []string{"X-Api-Key", token.Reveal()}, 403, "address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serve(t, whoAsks(t))
			g.Set(route("ses-1", test.from))
			status, body := ask(t, g.url+model.Prefix+"p/v1/chat", test.header...)
			if status != test.status {
				t.Fatalf("got %d %q, want %d", status, body, test.status)
			}
			if status == http.StatusOK && body != "ses-1 alice 127.0.0.1" {
				t.Errorf("got %q", body)
			}
			if test.rule != "" && (len(g.refusals) != 1 || g.refusals[0].Rule != test.rule) {
				t.Errorf("recorded %v, want one refusal by the rule %q", g.refusals, test.rule)
			}
			if strings.Contains(body, token.Reveal()) {
				t.Error("the answer has the token")
			}
		})
	}
}

func TestWhatDoesNotExistIsNamed(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	g.Set(route("ses-1", here))
	for path, want := range map[string]string{"/models/p/v1": "models:", "/git/h/r": "git:", "/": "CONNECT", "/models/../git/": "models:"} {
		status, body := ask(t, g.url+path, "X-Api-Key", token.Reveal())
		if status != http.StatusNotFound || !strings.Contains(body, want) {
			t.Errorf("%s: got %d %q", path, status, body)
		}
	}
}

func TestAddressBelongsToTheLastContainerThatGotIt(t *testing.T) {
	t.Parallel()
	c := gateway.NewCallers(nil)
	c.Set(route("ses-1", here))
	_, first, _ := c.At(here)
	c.Set(route("ses-2", here))
	if !errors.Is(context.Cause(first), gateway.ErrGone) {
		t.Errorf("requests of the first go on: %v", context.Cause(first))
	}
	c.Remove("ses-1") // the news of its end come late
	got, second, ok := c.At(here)
	if !ok || got.Session != "ses-2" || second.Err() != nil {
		t.Errorf("got %v %v, want ses-2", got, ok)
	}
	c.Set(route("ses-2", netip.Addr{}))
	if _, _, ok := c.At(here); ok || second.Err() == nil {
		t.Error("a session without a container has an address")
	}
}

func TestChangeOfARouteEndsRequestsOnlyIfTheyDependOnIt(t *testing.T) {
	t.Parallel()
	c := gateway.NewCallers(nil)
	c.Set(route("ses-1", here))
	_, live, _ := c.At(here)
	same := route("ses-1", here)
	same.Running, same.Address = true, "127.0.0.1:4096"
	c.Set(same)
	if live.Err() != nil {
		t.Error("the requests of a session end when it becomes ready")
	}
	less := route("ses-1", here)
	less.Egress = session.EgressNone
	c.Set(less)
	if live.Err() == nil {
		t.Error("requests go on that the session may not make any more")
	}
}

func TestRequestsEndWithTheSession(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	begun := make(chan struct{})
	g := serve(t, gateway.ServiceFunc(func(_ http.ResponseWriter, r *http.Request, _ session.Caller) {
		close(begun)
		<-r.Context().Done()
		ended <- context.Cause(r.Context())
	}))
	g.Set(route("ses-1", here))
	go func() {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url+model.Prefix, nil)
		r.Header.Set("X-Api-Key", token.Reveal())
		if res, err := (&http.Client{Transport: &http.Transport{}}).Do(r); err == nil {
			_ = res.Body.Close()
		}
	}()
	<-begun
	g.Remove("ses-1")
	select {
	case err := <-ended:
		if !errors.Is(err, gateway.ErrGone) {
			t.Errorf("ended by %v", err)
		}
	case <-time.After(time.Second):
		t.Error("the request goes on for a second after the session")
	}
	if status, _ := ask(t, g.url+model.Prefix, "X-Api-Key", token.Reveal()); status != http.StatusForbidden {
		t.Errorf("got %d after the session is gone", status)
	}
}

func TestProxyAsksForTheToken(t *testing.T) {
	t.Parallel()
	g := serve(t, nil)
	g.Set(route("ses-1", here))
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nAuthorization: Bearer "+token.Reveal()+"\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusProxyAuthRequired || res.Header.Get("Proxy-Authenticate") == "" {
		t.Errorf("got %s, want 407 for a token that is for the other host", res.Status)
	}
}

func TestContainerCannotTakeAllConnections(t *testing.T) {
	t.Parallel()
	g := serve(t, whoAsks(t))
	g.Set(route("ses-1", here))
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	closed := 0
	for range 300 {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(g.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	for _, c := range open[260:] {
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			closed++
		}
	}
	if closed != 40 {
		t.Errorf("%d of the last 40 connections were closed", closed)
	}
	g.Set(route("ses-2", netip.MustParseAddr("127.0.0.2")))
	other := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	client := &http.Client{Transport: &http.Transport{DialContext: other.DialContext}}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url+model.Prefix, nil)
	r.Header.Set("X-Api-Key", token.Reveal())
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("another container got %s", res.Status)
	}
	client.CloseIdleConnections()
}
