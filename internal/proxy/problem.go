package proxy

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"berth/internal/outcome"
	"berth/internal/proxy/policy"
	"berth/internal/session"
)

// writeProblem is the default of [Options.WriteProblem].
func writeProblem(w http.ResponseWriter, _ *http.Request, err error) {
	code := session.CodeOf(err)
	status := outcome.Of(code).Status
	doc, _ := json.Marshal(struct {
		Type      string       `json:"type"`
		Title     string       `json:"title"`
		Status    int          `json:"status"`
		Detail    string       `json:"detail"`
		Code      session.Code `json:"code"`
		RequestID string       `json:"request_id"`
	}{"about:blank", http.StatusText(status), status, session.MessageOf(err), code, w.Header().Get(policy.RequestIDHeader)})
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(doc) // the client has closed the connection
}

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
