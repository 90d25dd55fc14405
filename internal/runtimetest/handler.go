package runtimetest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"berth/internal/session"
)

// handler imitates OpenCode's contract:
//
//	GET  <profile's readiness path>   {"healthy":true,"version":"fake"}, the member named as in the profile
//	GET  /path                        a JSON object
//	GET  /session, POST /session      the sessions kept in the container's volumes; makes one more
//	POST /session/{id}/message?for=2s no byte until the time has passed
//	GET  /event                       an event stream that never ends
//	GET  /pty/{id}/connect            a WebSocket that echoes
//	ANY  /echo                        the request as the server saw it; see [Echo]
//	ANY  /exit?code=N                 ends the server
//	ANY  anything else                200 and a web page
//
// Every path but the profile's public ones wants the credential, as HTTP Basic or in the query auth_token, which wins.
type handler struct {
	fake      *Fake
	container *container
	server    *server
	spec      session.Spec
	volumes   *volumes
}

// Echo is the response of /echo.
type Echo struct {
	Method string      `json:"method"`
	Host   string      `json:"host"`
	Path   string      `json:"path"` // as sent: escaped
	Query  string      `json:"query"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
	Bytes  int         `json:"bytes"` // length of the body
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.fake.awaitResume(r.Context(), h.container) {
		return
	}
	b := h.fake.behaviour(h.spec)
	connection, _ := r.Context().Value(connKey{}).(int)
	if b.Mute || connection <= b.LateAttach {
		<-r.Context().Done()
		return
	}
	if b.Latency > 0 && !sleep(r.Context(), b.Latency) {
		return
	}
	if !h.authorized(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="Secure Area"`)
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	if b.Status != 0 {
		w.WriteHeader(b.Status)
		return
	}
	message, _ := path.Match("/session/*/message", r.URL.Path)
	terminal, _ := path.Match("/pty/*/connect", r.URL.Path)
	switch {
	case r.URL.Path == h.spec.Profile.Ready.Path:
		h.ready(w, r, b)
	case r.URL.Path == "/path":
		writeJSON(w, map[string]string{"directory": "/workspace", "worktree": "/"})
	case r.URL.Path == "/session":
		h.sessions(w, r)
	case message && r.Method == http.MethodPost:
		h.message(w, r)
	case r.URL.Path == "/event":
		h.events(w, r, b)
	case terminal:
		h.terminal(w, r)
	case r.URL.Path == "/echo":
		h.echo(w, r)
	case r.URL.Path == "/exit":
		h.exit(w, r)
	default:
		writePage(w)
	}
}

func (h *handler) authorized(r *http.Request) bool {
	if slices.Contains(h.spec.Profile.Public, r.URL.Path) {
		return true
	}
	want := h.spec.Profile.Username + ":" + h.spec.Credential.Reveal()
	username, password, _ := r.BasicAuth()
	got := username + ":" + password
	if query := r.URL.Query(); query.Has("auth_token") {
		text, _ := base64.StdEncoding.DecodeString(query.Get("auth_token"))
		got = string(text)
	}
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func (h *handler) ready(w http.ResponseWriter, r *http.Request, b Behaviour) {
	if !sleep(r.Context(), b.Slow-time.Since(h.server.started)) {
		return
	}
	if b.Page {
		writePage(w)
		return
	}
	answer := map[string]any{"version": "fake"}
	if member := h.spec.Profile.Ready.Member; member != "" {
		answer[member] = !b.Unhealthy
	}
	writeJSON(w, answer)
}

func (h *handler) sessions(w http.ResponseWriter, r *http.Request) {
	type openCodeSession struct {
		ID string `json:"id"`
	}
	h.volumes.mu.Lock()
	defer h.volumes.mu.Unlock()
	if r.Method == http.MethodPost {
		id := "ses_" + rand.Text()
		h.volumes.sessions = append(h.volumes.sessions, id)
		writeJSON(w, openCodeSession{id})
		return
	}
	all := []openCodeSession{}
	for _, id := range h.volumes.sessions {
		all = append(all, openCodeSession{id})
	}
	writeJSON(w, all)
}

func (h *handler) message(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	wait, _ := time.ParseDuration(r.URL.Query().Get("for"))
	if err != nil || !sleep(r.Context(), wait) {
		return
	}
	writeJSON(w, map[string]any{"session": strings.Split(r.URL.Path, "/")[2], "bytes": len(body)})
}

func (h *handler) events(w http.ResponseWriter, r *http.Request, b Behaviour) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache, no-transform")
	w.Header().Set("X-Accel-Buffering", "no")
	every := b.Heartbeat
	if every <= 0 {
		every = time.Second
	}
	control := http.NewResponseController(w)
	for kind := "server.connected"; ; kind = "server.heartbeat" {
		if _, err := fmt.Fprintf(w, "data: {\"type\":%q,\"properties\":{}}\n\n", kind); err != nil {
			return
		}
		if control.Flush() != nil || !sleep(r.Context(), every) {
			return
		}
	}
}

// terminal does not look at Origin: neither does OpenCode when the credential is shown by HTTP Basic.
func (h *handler) terminal(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, text, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if conn.Write(r.Context(), kind, text) != nil {
			return
		}
	}
}

func (h *handler) echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	writeJSON(w, Echo{
		Method: r.Method, Host: r.Host, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Header: r.Header,
		Body: string(body), Bytes: len(body),
	})
}

func (h *handler) exit(w http.ResponseWriter, r *http.Request) {
	code, _ := strconv.Atoi(r.URL.Query().Get("code"))
	text := fmt.Sprintf(`{"code":%d}`, code)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text))) // the response is complete before the server exits
	_, _ = io.WriteString(w, text)
	_ = http.NewResponseController(w).Flush()
	h.fake.servers.Go(func() {
		f := h.fake
		f.mu.Lock()
		var s *server
		if h.container.server == h.server {
			h.container.log.printf("fake: exit %d", code)
			s = f.ended(h.container, code, false)
		}
		f.mu.Unlock()
		s.close()
	})
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

// writePage answers as OpenCode does on every path that is no route: with its web interface.
func writePage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html;charset=UTF-8")
	_, _ = io.WriteString(w, "<!doctype html><title>fake</title>")
}
