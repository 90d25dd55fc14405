package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Session is a session as the API returns it.
type Session struct {
	ID        string `json:"session_id"`
	Status    string `json:"status"`
	LastError string `json:"last_error"`
	Container string `json:"container_id"`
	Name      string `json:"container_name"`
	Restarts  int    `json:"restart_count"`
	Operation *struct {
		Kind string `json:"kind"`
	} `json:"operation"`
}

// Sessions lists all sessions, page by page, by their IDs.
func (w *Env) Sessions(ctx context.Context) (map[string]Session, error) {
	all := map[string]Session{}
	for after := ""; ; {
		a, err := w.Try(ctx, http.MethodGet, "/sessions?limit=1000&after="+after, w.AdminToken(), "")
		if err != nil {
			return nil, err
		}
		if a.Status != http.StatusOK {
			return nil, fmt.Errorf("the list of sessions: %s", a)
		}
		var page struct {
			Sessions []Session `json:"sessions"`
			Next     string    `json:"next"`
		}
		if err := json.Unmarshal(a.Body, &page); err != nil {
			return nil, err
		}
		for _, s := range page.Sessions {
			if _, twice := all[s.ID]; twice {
				return nil, fmt.Errorf("session %s is listed twice", s.ID)
			}
			all[s.ID] = s
		}
		if after = page.Next; after == "" {
			return all, nil
		}
	}
}

// ContainerOf is the name of a session's container.
func (w *Env) ContainerOf(id string) string {
	w.t.Helper()
	var s Session
	if a := w.Call(http.MethodGet, "/sessions/"+id, w.AdminToken(), ""); a.Status != http.StatusOK || json.Unmarshal(a.Body, &s) != nil {
		w.t.Fatalf("show session %s: %s", id, a)
	}
	return s.Name
}
