package model

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"berth/internal/outcome"
	"berth/internal/session"
)

// failure is an answer that is not the provider's own.
type failure struct {
	status int
	text   string // sentence for agents and their users
	kind   string // name in the API of OpenAI; empty: that of the status
	after  time.Duration
}

// names are those of errors by status, in the APIs of OpenAI, Anthropic and Google.
var names = map[int][3]string{
	400: {"invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"},
	403: {"permission_error", "permission_error", "PERMISSION_DENIED"},
	404: {"not_found_error", "not_found_error", "NOT_FOUND"},
	413: {"invalid_request_error", "request_too_large", "INVALID_ARGUMENT"},
	429: {"rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"},
	503: {"server_error", "overloaded_error", "UNAVAILABLE"},
	529: {"server_error", "overloaded_error", "UNAVAILABLE"},
}

// write writes the failure as an error of the kind's API.
func (f failure) write(w http.ResponseWriter, kind Kind) {
	name, known := names[f.status]
	switch {
	case known:
	case f.status >= 500:
		name = [3]string{"server_error", "api_error", "INTERNAL"}
	default:
		name = names[400]
	}
	var body any
	switch kind {
	case Anthropic:
		body = map[string]any{"type": "error", "error": map[string]any{"type": name[1], "message": f.text}}
	case Google:
		body = map[string]any{"error": map[string]any{"code": f.status, "message": f.text, "status": name[2]}}
	default:
		body = map[string]any{"error": map[string]any{"message": f.text, "type": name[0], "param": nil, "code": cmp.Or(f.kind, name[0])}}
	}
	text, _ := json.Marshal(body)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if f.after > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((f.after+time.Second-1)/time.Second), 10))
	}
	w.WriteHeader(f.status)
	_, _ = w.Write(text)
}

// worthWaiting is the longest time after which clients should try again by themselves. They show the sentence of an answer only if
// it says that trying again is of no use.
const worthWaiting = 2 * time.Minute

// failureOf is the answer for an error of the meter.
func failureOf(err error) failure {
	code := session.CodeOf(err)
	o := outcome.Of(code)
	f := failure{status: o.Status, text: session.MessageOf(err), kind: string(code), after: o.RetryAfter}
	if known, ok := asFailure(err); ok && known.RetryAfter > 0 {
		f.after = known.RetryAfter
	}
	if f.status == http.StatusTooManyRequests && (f.after == 0 || f.after > worthWaiting) {
		f.status, f.after = http.StatusForbidden, 0
	}
	return f
}
