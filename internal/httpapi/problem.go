package httpapi

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"berth/internal/outcome"
	"berth/internal/session"
)

// Problem is an RFC 9457 problem document.
type Problem struct {
	Type      string       `json:"type" doc:"always about:blank; code distinguishes problems" example:"about:blank"`
	Title     string       `json:"title" doc:"the HTTP status in words"`
	Status    int          `json:"status"`
	Code      session.Code `json:"code" doc:"stable name of the kind of problem" example:"limit_reached"`
	Detail    string       `json:"detail" doc:"what happened and what to do"`
	RequestID string       `json:"request_id,omitempty" doc:"find it in Berth's log"`
	SessionID session.ID   `json:"session_id,omitempty" doc:"the session that is left in status error"`
	Faults    []Fault      `json:"errors,omitempty" doc:"what is wrong with the request, one by one"`

	headers http.Header
}

// Fault is one fault of a request.
type Fault struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty" example:"body.owner"`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders returns the headers of the problem's response.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// ContentType returns the media type of RFC 9457.
func (p *Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

// ProblemOf converts any error into a problem document without internal details.
func ProblemOf(err error) Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return *p
	}
	code := session.CodeOf(err)
	p := Problem{Status: outcome.Of(code).Status, Code: code, Detail: session.MessageOf(err), headers: http.Header{}}
	if wait := outcome.RetryAfter(err); wait > 0 {
		p.headers.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	return p
}

// WriteProblem responds with a problem document. The proxy uses it for its errors too.
func WriteProblem(w http.ResponseWriter, r *http.Request, err error) {
	problem := ProblemOf(err)
	p := problem.complete(r.Header.Get(requestIDHeader))
	for name, values := range p.headers {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", problemType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// requestIDHeader is set on every request before its handler runs.
const requestIDHeader = "X-Request-ID"

func (p Problem) complete(requestID string) Problem {
	p.Type, p.Title, p.RequestID = "about:blank", http.StatusText(p.Status), requestID
	return p
}

// asProblem converts the framework's errors, such as those of validation, into problem documents.
func asProblem(ctx huma.Context, _ string, v any) (any, error) {
	requestID := ctx.Header(requestIDHeader)
	switch e := v.(type) {
	case *Problem:
		p := e.complete(requestID)
		return &p, nil
	case *huma.ErrorModel:
		code := codeOf(e.Status)
		p := Problem{Status: outcome.Of(code).Status, Code: code, Detail: e.Detail}.complete(requestID)
		for _, fault := range e.Errors {
			p.Faults = append(p.Faults, Fault{Message: fault.Message, Location: fault.Location})
		}
		return &p, nil
	}
	return v, nil
}

// codeOf returns the code of a framework's error by its status.
func codeOf(status int) session.Code {
	switch status {
	case http.StatusBadRequest:
		return session.CodeMalformed
	case http.StatusUnauthorized:
		return session.CodeUnauthorized
	case http.StatusNotFound:
		return session.CodeNotFound
	case http.StatusMethodNotAllowed:
		return session.CodeMethod
	case http.StatusTooManyRequests:
		return session.CodeTooManyAttempts
	case http.StatusRequestEntityTooLarge:
		return session.CodeTooLarge
	}
	if status >= http.StatusInternalServerError {
		return session.CodeInternal
	}
	return session.CodeInvalid
}
