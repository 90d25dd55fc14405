package server

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"berth/internal/access"
	"berth/internal/session"
)

// oneToken is the token of the only session.
type oneToken session.Token

func (t oneToken) TokenOf(context.Context, session.ID) session.Token { return session.Token(t) }

func (oneToken) OwnerOf(_ context.Context, id session.ID) (string, error) {
	return "", session.NotFound(id)
}

// serveAdmitting serves as Berth does, with a limit of connections: the path selects the principal and the token, and every
// response except the operator's is larger than all buffers between server and client.
func serveAdmitting(t *testing.T, most int) (address string, began chan struct{}) {
	t.Helper()
	const admin, own = session.Secret("the operator's own token"), session.Secret("the session's own token")
	keys, err := access.NewKeys([]byte("the secret of this very test"))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := access.New(access.Options{Keys: keys, AdminToken: admin})
	if err != nil {
		t.Fatal(err)
	}
	asks := map[string]access.Ask{
		"/operator":       {Surface: access.API, Verb: access.List, Secret: admin},
		"/operator/large": {Surface: access.API, Verb: access.List, Secret: admin},
		"/user":           {Surface: access.API, Verb: access.Read, Session: "ses-one", Secret: own},
		"/user/stream":    {Surface: access.API, Verb: access.Read, Session: "ses-one", Secret: own},
		"/user/proxied":   {Surface: access.Proxy, Verb: access.Open, Session: "ses-one", Secret: own},
	}
	began = make(chan struct{}, most)
	handler := func(w http.ResponseWriter, r *http.Request) {
		if ask, ok := asks[r.URL.Path]; ok {
			if _, err := authority.Admit(r.Context(), ask, oneToken{Digest: keys.Digest(own)}); err != nil {
				t.Error(err)
			}
		}
		switch r.URL.Path {
		case "/operator":
			return
		case "/user/stream":
			HoldConnection(r.Context())
		}
		began <- struct{}{}
		_, _ = w.Write(make([]byte, 32<<20))
	}
	listener, err := Listen(t.Context(), "127.0.0.1:0", "BERTH_LISTEN")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{
		Listener: listener, Handler: http.HandlerFunc(handler), Client: func(*http.Request) *access.Client { return &access.Client{} },
		MaxConnections: most, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		_ = s.Shutdown(ctx) // closes connections at once
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s.Addr().String(), began
}

// A client with a session's token that reads nothing must not block the operator. Connections of requests with a limit of
// their own are kept: the operator's, those that the proxy forwards, event streams.
func TestUnreadResponsesToUsersDoNotBlockTheOperator(t *testing.T) {
	t.Parallel()
	for path, closed := range map[string]bool{"/unauthenticated": true, "/user": true, "/user/stream": false, "/user/proxied": false, "/operator/large": false} {
		t.Run(strings.Trim(path, "/"), func(t *testing.T) {
			t.Parallel()
			const most = 4
			address, began := serveAdmitting(t, most)
			for range most {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
				if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				<-began
			}
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "GET /operator HTTP/1.1\r\nHost: h\r\n\r\n") // the connection may be closed already
			line, err := bufio.NewReader(conn).ReadString('\n')
			if served := err == nil && strings.HasPrefix(line, "HTTP/1.1 200"); served != closed {
				t.Errorf("an operator beside %d that read nothing: got %q, %v; want it served: %v", most, line, err, closed)
			}
		})
	}
}
