// Package modeltest serves scripted providers of models, one for each kind of API. They check the key, count tokens, and can run a
// tool of an agent: for a prompt with "run: COMMAND" they call the tool bash, and with its result they answer.
package modeltest

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// What the models understand and say.
const (
	Runs    = "run: "              // in a prompt, before the command that the agent is to run
	Answers = "The command said: " // before the command's output
	Title   = "A conversation"     // for requests without tools
)

// Kinds of APIs.
const (
	OpenAICompatible = "openai-compatible"
	OpenAI           = "openai"
	Anthropic        = "anthropic"
	Google           = "google"
)

// Script says how a provider behaves. The zero value answers at once.
type Script struct {
	Status     int           // of an error; 0: it answers
	RetryAfter string        // header of an error
	EchoKey    bool          // an error repeats the key
	Message    string        // of an error
	Delay      time.Duration // before the first byte
	Words      int           // of an answer; 0: those of the script
	Pause      time.Duration // between two events
	Hold       chan struct{} // an answer waits behind its first word until this is closed; nil: it does not
	Huge       int           // bytes of one more event; 0: there is none
	Endless    bool          // the answer does not end
	NoUsage    bool          // the count of tokens is not sent
}

// Tokens are a provider's count.
type Tokens struct{ Input, Cached, Output int64 }

// Call is one that a provider has answered.
type Call struct {
	Path   string // with the query
	Header http.Header
	Body   []byte
	Model  string
	Tokens Tokens // of what was sent
	Ended  bool   // the answer was sent to its end
}

// Provider is a scripted provider: an [http.Handler] for its base URL, which ends with /v1, or /v1beta for [Google].
type Provider struct {
	kind string

	mu     sync.Mutex
	keys   []string
	script Script
	calls  []*Call
}

// New returns a provider that accepts some keys.
func New(kind string, keys ...string) *Provider { return &Provider{kind: kind, keys: keys} }

// Accept replaces the keys.
func (p *Provider) Accept(keys ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = keys
}

// Play replaces the script.
func (p *Provider) Play(s Script) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script = s
}

// Calls are those with a right key, in the order of their arrival.
func (p *Provider) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Call, len(p.calls))
	for i, c := range p.calls {
		all[i] = *c
	}
	return all
}

// Base is the path of the base URL.
func (p *Provider) Base() string {
	if p.kind == Google {
		return "/v1beta"
	}
	return "/v1"
}

// ServeHTTP implements [http.Handler].
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	script, key := p.script, p.keyOf(r.Header)
	p.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return
	case key == "":
		p.fail(w, http.StatusUnauthorized, "the key is wrong: "+r.Header.Get("Authorization")+r.Header.Get("X-Api-Key")+r.Header.Get("X-Goog-Api-Key"))
		return
	}
	var asked request
	if json.Unmarshal(body, &asked) != nil || !strings.HasPrefix(r.URL.Path, p.Base()+"/") {
		p.fail(w, http.StatusBadRequest, "not a request")
		return
	}
	if model, verb, found := strings.Cut(strings.TrimPrefix(r.URL.Path, p.Base()+"/models/"), ":"); found {
		asked.Model, asked.Stream = model, verb == "streamGenerateContent"
	}
	call := &Call{Path: r.URL.RequestURI(), Header: r.Header.Clone(), Body: body, Model: asked.Model}
	p.mu.Lock()
	p.calls = append(p.calls, call)
	p.mu.Unlock()
	if wait(r, script.Delay) != nil {
		return
	}
	if script.Status != 0 {
		if script.RetryAfter != "" {
			w.Header().Set("Retry-After", script.RetryAfter)
		}
		text := script.Message
		if script.EchoKey {
			text += " " + key
		}
		p.fail(w, script.Status, text)
		return
	}
	p.answer(w, r, asked, script, call)
}

// keyOf is the key of a request if it is accepted, in the header of the kind.
func (p *Provider) keyOf(h http.Header) string {
	given := strings.TrimPrefix(h.Get("Authorization"), "Bearer ")
	switch p.kind {
	case Anthropic:
		given = h.Get("X-Api-Key")
	case Google:
		given = h.Get("X-Goog-Api-Key")
	}
	for _, key := range p.keys {
		if subtle.ConstantTimeCompare([]byte(key), []byte(given)) == 1 {
			return key
		}
	}
	return ""
}

// fail answers with an error of the kind's API.
func (p *Provider) fail(w http.ResponseWriter, status int, text string) {
	var body any
	switch p.kind {
	case Anthropic:
		body = map[string]any{"type": "error", "error": map[string]any{"type": "api_error", "message": text}}
	case Google:
		body = map[string]any{"error": map[string]any{"code": status, "message": text, "status": "INTERNAL"}}
	default:
		body = map[string]any{"error": map[string]any{"message": text, "type": "error", "code": "a_code"}}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// wait waits, unless the request ends.
func wait(r *http.Request, d time.Duration) error {
	if d == 0 {
		return r.Context().Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.Context().Done():
		return fmt.Errorf("wait: %w", r.Context().Err())
	}
}
