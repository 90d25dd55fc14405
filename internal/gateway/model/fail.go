package model

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// failureTime is how long a provider may take to send its error.
const failureTime = 10 * time.Second

// fail answers in place of a provider that has refused a call.
func (f *forwarding) fail(res *http.Response) {
	late := time.AfterFunc(failureTime, func() { f.cancel(errIdle) })
	defer late.Stop()
	text, _ := io.ReadAll(io.LimitReader(res.Body, f.h.limits.FailureDetail))
	said := messageOf(text, f.key.Reveal())
	answer := failure{status: res.StatusCode, text: said.text, kind: said.code, after: retryAfter(res.Header)}
	explain := func(sentence string) {
		answer.text = fmt.Sprintf("the model provider %s %s", f.p.Name, sentence)
		if said.text != "" {
			answer.text += ": " + said.text
		}
	}
	switch status := res.StatusCode; {
	case status == http.StatusUnauthorized, keyRefused(text):
		f.h.log.ErrorContext(f.r.Context(), "model provider refuses the key", "provider", f.p.Name, "status", status)
		answer = failure{status: http.StatusForbidden, kind: "key_refused", text: fmt.Sprintf("the operator's key for the model provider %s was refused by it: tell the operator", f.p.Name)}
	case status == http.StatusPaymentRequired, status == http.StatusForbidden:
		explain("refuses this to the operator's account")
		answer.status, answer.after = http.StatusForbidden, 0
	case status == http.StatusTooManyRequests:
		explain("limits the operator's account")
	case status >= http.StatusInternalServerError:
		explain(fmt.Sprintf("has failed with status %d", status))
	case status < http.StatusBadRequest:
		answer = failure{status: http.StatusBadGateway, text: fmt.Sprintf("the model provider %s sends calls elsewhere with status %d, which the gateway does not follow", f.p.Name, status)}
	case said.text == "":
		explain(fmt.Sprintf("refuses the request with status %d", status))
	}
	if !f.left.Load() {
		answerHeader(f.w.Header(), res.Header)
		f.w.Header().Del("Retry-After")
		answer.write(f.w, f.p.Kind)
	}
}

// keyRefused reports whether an error is of Google's API and says that the key is none.
func keyRefused(text []byte) bool { return strings.Contains(string(text), `"API_KEY_INVALID"`) }

// said is what a provider's error says.
type said struct{ text, code string }

// maxSaid is the longest message of a provider that is passed on.
const maxSaid = 2000

// messageOf reads a provider's error. It is empty if there is none that can be shown, or one that has a part of the key.
func messageOf(text []byte, key string) said {
	var body struct {
		Error   json.RawMessage `json:"error"`
		Message json.RawMessage `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(text, &body) != nil {
		return said{}
	}
	var s said
	var inner struct {
		Message string          `json:"message"`
		Code    json.RawMessage `json:"code"`
	}
	switch {
	case json.Unmarshal(body.Error, &inner) == nil && inner.Message != "":
		s.text = inner.Message
		_ = json.Unmarshal(inner.Code, &s.code)
	case json.Unmarshal(body.Error, &s.text) == nil && s.text != "":
	case json.Unmarshal(body.Message, &s.text) == nil && s.text != "":
	default:
		_ = json.Unmarshal(body.Detail, &s.text)
	}
	if leaks(s.text+" "+s.code, key) || len(s.text) > maxSaid {
		return said{}
	}
	return s
}

// retryAfter is when a provider wants to be asked again, at most a day; 0 if it does not say.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	after := time.Duration(0)
	if seconds, err := strconv.ParseFloat(value, 64); err == nil && seconds > 0 && seconds < 1e6 {
		after = time.Duration(seconds * float64(time.Second))
	} else if at, err := http.ParseTime(value); err == nil {
		after = time.Until(at)
	}
	return min(max(after, 0), 24*time.Hour)
}
