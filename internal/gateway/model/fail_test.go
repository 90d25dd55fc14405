package model_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/internal/gateway/model"
	"berth/internal/modeltest"
	"berth/internal/session"
	"berth/internal/usage"
	"berth/internal/waittest"
)

func TestProvidersErrorsAreSentencesForAgents(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		script modeltest.Script
		status int
		text   string
		after  string
	}{
		{modeltest.Script{Status: 401, EchoKey: true}, 403, "operator's key", ""},
		{modeltest.Script{Status: 402, Message: "no credit"}, 403, "no credit", ""},
		{modeltest.Script{Status: 403, Message: "no such region"}, 403, "no such region", ""},
		{modeltest.Script{Status: 429, RetryAfter: "7", Message: "slow down"}, 429, "slow down", "7"},
		{modeltest.Script{Status: 429, RetryAfter: "0.5"}, 429, "limits", "1"},
		{modeltest.Script{Status: 500, Message: "boom", EchoKey: true}, 500, "has failed with status 500", ""},
		{modeltest.Script{Status: 529, Message: "overloaded"}, 529, "overloaded", ""},
		{modeltest.Script{Status: 400, Message: "prompt is too long: 300 tokens"}, 400, "prompt is too long: 300 tokens", ""},
		{modeltest.Script{Status: 400, EchoKey: true}, 400, "refuses the request with status 400", ""},
		{modeltest.Script{Status: 302}, 502, "does not follow", ""},
	} {
		e := setup(t, nil)
		for kind, call := range kinds {
			e.providers[kind].Play(tc.script)
			status, text, header := e.post(kind, call.path, call.body)
			if status != tc.status || !strings.Contains(text, tc.text) || header.Get("Retry-After") != tc.after || strings.Contains(text, "0123456789") {
				t.Errorf("%s %+v: got %d %s, Retry-After %q", kind, tc.script, status, text, header.Get("Retry-After"))
			}
			if n := len(e.providers[kind].Calls()); n != 1 {
				t.Errorf("%s %+v: the provider got %d calls, want 1", kind, tc.script, n)
			}
		}
		for _, result := range e.settled(len(kinds)) {
			if result != (usage.Result{Failed: true}) {
				t.Errorf("%+v: settled as %+v, want failed", tc.script, result)
			}
		}
	}
}

func TestUnreachableProviderIsNamedAndNotCounted(t *testing.T) {
	t.Parallel()
	e := setup(t, func(o *model.Options) {
		for i := range o.Providers {
			o.Providers[i].BaseURL = "http://127.0.0.1:1/v1"
		}
	})
	for kind, call := range kinds {
		if status, text, _ := e.post(kind, call.path, call.body); status != http.StatusBadGateway || !strings.Contains(text, string(kind)) || strings.Contains(text, "127.0.0.1") {
			t.Errorf("%s: got %d %s", kind, status, text)
		}
	}
	for _, result := range e.settled(len(kinds)) {
		if !result.Failed {
			t.Errorf("settled as %+v", result)
		}
	}
}

func TestBudgetRefusalSaysWhenToTryAgain(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		after  time.Duration
		status int
		header string
	}{{20 * time.Second, 429, "20"}, {5 * time.Hour, 403, ""}, {0, 403, ""}} {
		e := setup(t, nil)
		e.meter.refuse = session.Errorf(session.CodeBudget, "the tokens of today are used up").After(tc.after)
		status, text, header := e.post(model.Anthropic, kinds[model.Anthropic].path, kinds[model.Anthropic].body)
		if status != tc.status || header.Get("Retry-After") != tc.header || !strings.Contains(text, "the tokens of today are used up") {
			t.Errorf("after %s: got %d, Retry-After %q: %s", tc.after, status, header.Get("Retry-After"), text)
		}
		if len(e.providers[model.Anthropic].Calls()) != 0 {
			t.Error("the provider is called")
		}
	}
}

func TestKeyInAnswerIsHidden(t *testing.T) {
	t.Parallel()
	leaky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, piece := range []string{"data: {\"text\":\"" + realKey[:5], realKey[5:] + " and " + realKey, "\"}\n\n"} {
			_, _ = io.WriteString(w, piece)
			_ = http.NewResponseController(w).Flush()
		}
	}))
	t.Cleanup(leaky.Close)
	e := setup(t, func(o *model.Options) {
		for i := range o.Providers {
			o.Providers[i].BaseURL = leaky.URL + "/v1"
		}
	})
	status, text, _ := e.post(model.OpenAI, kinds[model.OpenAI].path, kinds[model.OpenAI].body)
	if want := "data: {\"text\":\"" + strings.Repeat("*", len(realKey)) + " and " + strings.Repeat("*", len(realKey)) + "\"}\n\n"; status != 200 || text != want {
		t.Errorf("got %d %q", status, text)
	}
}

func TestHugeEventPassesUnharmed(t *testing.T) {
	t.Parallel()
	e := setup(t, nil)
	for kind, call := range kinds {
		e.providers[kind].Play(modeltest.Script{Huge: 3 << 20, Words: 2})
		status, text, _ := e.post(kind, call.path, call.body)
		if status != 200 || !strings.Contains(text, strings.Repeat("x", 3<<20)) || !strings.HasSuffix(text, "\n\n") {
			t.Errorf("%s: got %d and %d bytes", kind, status, len(text))
		}
	}
	for _, result := range e.settled(len(kinds)) {
		if result.Estimated {
			t.Errorf("settled as %+v", result)
		}
	}
}

func TestFirstByteIsNotHeldBack(t *testing.T) {
	t.Parallel()
	e := setup(t, nil)
	for kind, call := range kinds {
		e.providers[kind].Play(modeltest.Script{Words: 1, Endless: true, Pause: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		res := e.open(ctx, http.MethodPost, "/models/"+string(kind)+call.path, call.body)
		var text []byte
		buffer := make([]byte, 4096)
		for !bytes.Contains(text, []byte("word")) {
			n, err := res.Body.Read(buffer)
			if err != nil {
				t.Fatalf("%s: %v after %q", kind, err, text)
			}
			text = append(text, buffer[:n]...)
		}
		cancel()
		_ = res.Body.Close()
	}
	e.handler.Close() // ends what is drained
	for _, result := range e.settled(len(kinds)) {
		if !result.Estimated {
			t.Errorf("settled as %+v", result)
		}
	}
}

func TestCutAnswerOfProviderIsCut(t *testing.T) {
	t.Parallel()
	short := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, `data: {"choices":[{"delta":{"content":"123456"}}]}`+"\n\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(short.Close)
	e := setup(t, func(o *model.Options) {
		for i := range o.Providers {
			o.Providers[i].BaseURL = short.URL + "/v1"
		}
	})
	res := e.open(t.Context(), http.MethodPost, "/models/openai-compatible/v1/chat/completions", kinds[model.OpenAICompatible].body)
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("a cut answer looks whole: %q", text)
	}
	if got := e.settled(1)[0]; !got.Estimated || got.Failed || got.Tokens.Output != 2 {
		t.Errorf("settled as %+v", got)
	}
}

func TestBoundsOfRequests(t *testing.T) {
	t.Parallel()
	e := setup(t, func(o *model.Options) { o.Limits = model.Limits{Body: 1000, Calls: 2} })
	large := `{"model":"m","user":"` + strings.Repeat("x", 2000) + `"}`
	if status, _, _ := e.post(model.OpenAI, "/v1/responses", large); status != http.StatusRequestEntityTooLarge {
		t.Errorf("large body: got %d", status)
	}
	e.providers[model.OpenAI].Play(modeltest.Script{Words: 1, Endless: true, Pause: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 2 {
		res := e.open(ctx, http.MethodPost, "/models/openai/v1/responses", kinds[model.OpenAI].body)
		defer res.Body.Close()
	}
	if status, text, header := e.post(model.OpenAI, "/v1/responses", kinds[model.OpenAI].body); status != http.StatusTooManyRequests || header.Get("Retry-After") == "" {
		t.Errorf("third call at a time: got %d %s", status, text)
	}
	full := setup(t, func(o *model.Options) { o.Limits = model.Limits{Bodies: 1} })
	if status, _, header := full.post(model.OpenAI, "/v1/responses", kinds[model.OpenAI].body); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("with no memory left: got %d", status)
	}
}

func TestKeyFileIsReadAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	put := func(text string, mode os.FileMode) {
		if err := os.WriteFile(file+".new", []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	put("first\n", 0o600)
	key := model.KeyFile(file)
	becomes := func(want string) {
		t.Helper()
		waittest.True(t, "key "+want, func() bool {
			got, err := key()
			return got.Reveal() == want && (err == nil) == (want != "")
		})
	}
	becomes("first")
	put("second", 0o600)
	becomes("second")
	put("", 0o600)
	becomes("")
	put("third\r\n", 0o640)
	becomes("third")
	put("fourth", 0o644)
	becomes("")
	put("fifth", 0o400)
	becomes("fifth")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	becomes("")
	if _, err := key(); strings.Contains(err.Error(), "fifth") {
		t.Errorf("the error has the key: %v", err)
	}
}
