package main

import (
	"net/http"
	"time"
)

// routesOf2 are those of OpenCode's 2.x line, written from its published sources.
func (s *server) routesOf2(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/info", s.info)
	mux.HandleFunc("GET /api/event", s.events)
	mux.HandleFunc("GET /api/session/active", s.active)
	mux.HandleFunc("POST /work", s.work)
	// A second way in, which Berth keeps closed.
	mux.HandleFunc("/api/pair", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{"code": "of-the-container", "expires_in": 300})
	})
	mux.HandleFunc("/auth/connect/{code}", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]string{"token": "of-the-container"})
	})
}

// info is 503 until the server has started.
func (s *server) info(w http.ResponseWriter, r *http.Request) {
	if time.Now().Before(s.healthyFrom) {
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	if !s.misbehaves(w, r, "mute") {
		writeJSON(w, map[string]string{"version": "2.0.0-stub"})
	}
}

// active lists the sessions in which an agent works.
func (s *server) active(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]any{}
	if s.working {
		all["ses_stub"] = map[string]string{"type": "running"}
	}
	writeJSON(w, map[string]any{"data": all})
}

// work says whether an agent works from now on: POST /work?on=true.
func (s *server) work(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.working = r.URL.Query().Get("on") == "true"
	writeJSON(w, map[string]bool{"working": s.working})
}
