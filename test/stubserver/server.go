package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

type server struct {
	username, password string
	state              string        // directory of sessions.json; sessions are lost where it cannot be written
	heartbeat          time.Duration // between two events of the stream
	healthyFrom        time.Time
	exit               chan int

	mu       sync.Mutex
	sessions []stubSession
	ballast  [][]byte
	manner   string // see behave
	working  bool   // see work
}

type stubSession struct {
	ID string `json:"id"`
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /global/health", s.health)
	mux.HandleFunc("GET /path", s.path)
	mux.HandleFunc("GET /event", s.events)
	mux.HandleFunc("GET /session", s.listSessions)
	mux.HandleFunc("POST /session", s.createSession)
	mux.HandleFunc("POST /session/{id}/message", s.message)
	s.routesOf2(mux)
	mux.HandleFunc("/exit", s.end)
	mux.HandleFunc("POST /behave", s.behave)
	mux.HandleFunc("GET /env", s.env)
	mux.HandleFunc("GET /dial", s.dial)
	mux.HandleFunc("GET /names", s.names)
	mux.HandleFunc("GET /syscalls", s.syscalls)
	mux.HandleFunc("POST /allocate", s.allocate)
	mux.HandleFunc("POST /write", s.write)
	mux.HandleFunc("POST /burn", s.burn)
	mux.HandleFunc("GET /hide", s.hide)
	mux.HandleFunc("/echo", s.echo)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		// Like OpenCode, which responds with its web page on every path that is no route.
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>stub</title>")
	})
	return s.authenticated(mux)
}

func (s *server) authenticated(next http.Handler) http.Handler {
	digest := func(text string) []byte { d := sha256.Sum256([]byte(text)); return d[:] }
	want := digest(s.username + ":" + s.password)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		username, password, _ := r.BasicAuth()
		shown := username + ":" + password
		if query := r.URL.Query(); query.Has("auth_token") { // wins over the header, as with OpenCode
			text, _ := base64.StdEncoding.DecodeString(query.Get("auth_token"))
			shown = string(text)
		}
		if s.password != "" && subtle.ConstantTimeCompare(digest(shown), want) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="Secure Area"`)
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// behave changes how the server behaves from now on: "mute" does not respond to health checks, "wedged" responds to them and hangs
// at all other requests, "broken" responds with 500, "slow" takes half a second for each; "loop" exits now and at every later
// start.
func (s *server) behave(w http.ResponseWriter, r *http.Request) {
	manner := r.URL.Query().Get("as")
	s.mu.Lock()
	s.manner = manner
	s.mu.Unlock()
	if manner == "loop" {
		if err := os.WriteFile(loopFile(s.state), nil, 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	writeJSON(w, map[string]string{"manner": manner})
	if manner == "loop" {
		s.exit <- exitMode
	}
}

const slowness = time.Second / 2

// loopFile says that the server ends at its start.
func loopFile(state string) string { return filepath.Join(state, "loop") }

// misbehaves handles a request in the set manner, and reports false if there is none.
func (s *server) misbehaves(w http.ResponseWriter, r *http.Request, silent string) bool {
	s.mu.Lock()
	manner := s.manner
	s.mu.Unlock()
	switch manner {
	case silent:
		<-r.Context().Done()
	case "broken":
		http.Error(w, "broken", http.StatusInternalServerError)
	case "slow":
		<-time.After(slowness)
		return false
	default:
		return false
	}
	return true
}

func (s *server) health(w http.ResponseWriter, r *http.Request) {
	if s.misbehaves(w, r, "mute") {
		return
	}
	select {
	case <-time.After(time.Until(s.healthyFrom)):
		writeJSON(w, map[string]any{"healthy": true, "version": "stub"})
	case <-r.Context().Done():
	}
}

func (s *server) path(w http.ResponseWriter, r *http.Request) {
	if s.misbehaves(w, r, "wedged") {
		return
	}
	directory, err := os.Getwd()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, map[string]any{"directory": directory, "worktree": "/", "state": s.state})
}

func (s *server) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache, no-transform")
	control := http.NewResponseController(w)
	send := func(kind string) error {
		if _, err := fmt.Fprintf(w, "data: {\"type\":%q,\"properties\":{}}\n\n", kind); err != nil {
			return err
		}
		return control.Flush()
	}
	if send("server.connected") != nil {
		return
	}
	tick := time.NewTicker(s.heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
			if send("server.heartbeat") != nil {
				return
			}
		}
	}
}

func (s *server) stateFile() string { return filepath.Join(s.state, "sessions.json") }

// known returns the sessions, those of an earlier run included. Call it with the lock held.
func (s *server) known() []stubSession {
	if s.sessions == nil {
		s.sessions = []stubSession{}
		if data, err := os.ReadFile(s.stateFile()); err == nil {
			_ = json.Unmarshal(data, &s.sessions)
		}
	}
	return s.sessions
}

func (s *server) listSessions(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	writeJSON(w, s.known())
}

func (s *server) createSession(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	made := stubSession{ID: "ses_" + rand.Text()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = append(s.known(), made)
	if data, err := json.Marshal(s.sessions); err == nil {
		_ = os.WriteFile(s.stateFile(), data, 0o600)
	}
	writeJSON(w, made)
}

// message sends no byte until it is finished, which takes the time in the query's "for".
func (s *server) message(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	wait, _ := time.ParseDuration(r.URL.Query().Get("for"))
	select {
	case <-time.After(wait):
		writeJSON(w, map[string]any{"session": r.PathValue("id"), "bytes": len(body)})
	case <-r.Context().Done():
	}
}

func (s *server) end(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.URL.Query().Get("code"))
	if err != nil {
		code = 0
	}
	writeJSON(w, map[string]any{"code": code})
	_ = http.NewResponseController(w).Flush()
	select {
	case s.exit <- code:
	default:
	}
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}
