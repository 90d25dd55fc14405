package model_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"berth/internal/gateway/model"
	"berth/internal/modeltest"
	"berth/internal/session"
	"berth/internal/usage"
	"berth/internal/waittest"
)

// realKey is a provider's key. It must never be seen by a session.
const realKey = "sk-real-0123456789abcdef"

// kinds are the kinds with the path and body of a streamed call.
var kinds = map[model.Kind]struct{ path, body string }{
	model.OpenAICompatible: {"/v1/chat/completions", `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}`},
	model.OpenAI:           {"/v1/responses", `{"model":"m","stream":true,"input":"hello"}`},
	model.Anthropic:        {"/v1/messages", `{"model":"m","stream":true,"max_tokens":100,"messages":[{"role":"user","content":"hello"}]}`},
	model.Google:           {"/v1beta/models/m:streamGenerateContent?alt=sse", `{"contents":[{"role":"user","parts":[{"text":"hello"}]}]}`},
}

// meter records calls and what they used.
type meter struct {
	refuse error

	mu      sync.Mutex
	calls   []usage.Call
	results []usage.Result
}

func (m *meter) Reserve(_ context.Context, call usage.Call) (usage.Reservation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != nil {
		return nil, m.refuse
	}
	m.calls = append(m.calls, call)
	return &reservation{m: m}, nil
}

type reservation struct {
	m       *meter
	settled bool
}

func (r *reservation) Settle(ctx context.Context, result usage.Result) {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if r.settled || ctx.Err() != nil {
		panic("a reservation is settled twice, or too late")
	}
	r.settled = true
	r.m.results = append(r.m.results, result)
}

func (m *meter) settled() []usage.Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]usage.Result(nil), m.results...)
}

// env is a handler in front of a scripted provider of each kind, by the name of the kind.
type env struct {
	t         *testing.T
	handler   *model.Handler
	meter     *meter
	providers map[model.Kind]*modeltest.Provider
	settings  []model.Provider
	url       string

	mu      sync.Mutex
	refused []string // rules
}

func setup(t *testing.T, change func(*model.Options)) *env {
	t.Helper()
	e := &env{t: t, meter: &meter{}, providers: map[model.Kind]*modeltest.Provider{}}
	o := model.Options{Meter: e.meter, Refused: func(_ context.Context, _ session.Caller, rule, _ string) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.refused = append(e.refused, rule)
	}}
	for kind := range kinds {
		p := modeltest.New(string(kind), realKey)
		server := httptest.NewServer(p)
		t.Cleanup(server.Close)
		e.providers[kind] = p
		e.settings = append(e.settings, model.Provider{
			Name: string(kind), Kind: kind, BaseURL: server.URL + p.Base(), Key: model.FixedKey(realKey),
			Models: map[string]model.Model{"m": {}, "small": {}},
		})
	}
	o.Providers = e.settings
	if change != nil {
		change(&o)
	}
	handler, err := model.New(o)
	if err != nil {
		t.Fatal(err)
	}
	e.handler = handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.Serve(w, r, session.Caller{Session: "ses-1", Owner: "ann"})
	}))
	t.Cleanup(server.Close)
	t.Cleanup(handler.Close) // first: it ends what is drained
	e.url = server.URL
	return e
}

// post makes a call with the session's token, and returns status and body.
func (e *env) post(kind model.Kind, path, body string) (int, string, http.Header) {
	e.t.Helper()
	return e.do(http.MethodPost, "/models/"+string(kind)+path, body)
}

func (e *env) do(method, path, body string) (int, string, http.Header) {
	e.t.Helper()
	res := e.open(e.t.Context(), method, path, body)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		e.t.Errorf("%s %s: %v", method, path, err)
	}
	if strings.Contains(string(text), realKey) {
		e.t.Errorf("%s %s: the answer has the key", method, path)
	}
	return res.StatusCode, string(text), res.Header
}

func (e *env) open(ctx context.Context, method, path, body string) *http.Response {
	e.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, e.url+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	for _, name := range []string{"X-Api-Key", "X-Goog-Api-Key"} {
		r.Header.Set(name, "the-sessions-token")
	}
	r.Header.Set("Authorization", "Bearer the-sessions-token")
	r.Header.Set("Cookie", "a=the-sessions-token")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		e.t.Fatal(err)
	}
	return res
}

// settled are the results of n calls, when all have ended.
func (e *env) settled(n int) []usage.Result {
	e.t.Helper()
	waittest.True(e.t, "calls settled", func() bool { return len(e.meter.settled()) >= n })
	return e.meter.settled()
}
