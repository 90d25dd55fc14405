package model_test

import (
	"net/http"
	"strings"
	"testing"

	"berth/internal/gateway/model"
	"berth/internal/modeltest"
	"berth/internal/usage"
)

func TestCallsReachProviderWithItsKeyAndNothingElse(t *testing.T) {
	t.Parallel()
	e := setup(t, nil)
	for kind, call := range kinds {
		status, text, header := e.post(kind, call.path, call.body)
		if status != http.StatusOK || !strings.Contains(text, modeltest.Title) {
			t.Errorf("%s: got %d %s", kind, status, text)
			continue
		}
		if got := header.Get("Content-Type"); got != "text/event-stream" {
			t.Errorf("%s: content type %q", kind, got)
		}
		calls := e.providers[kind].Calls()
		if len(calls) != 1 {
			t.Fatalf("%s: the provider got %d calls", kind, len(calls))
		}
		for name, values := range calls[0].Header {
			if strings.Contains(strings.Join(values, " "), "the-sessions-token") {
				t.Errorf("%s: the provider gets the session's token in %s", kind, name)
			}
		}
		for _, name := range []string{"Cookie", "X-Forwarded-For", "Traceparent"} {
			if calls[0].Header.Get(name) != "" {
				t.Errorf("%s: the provider gets the field %s", kind, name)
			}
		}
	}
}

func TestUsageIsTheProvidersCount(t *testing.T) {
	t.Parallel()
	for kind, call := range kinds {
		for _, stream := range []bool{true, false} {
			e := setup(t, nil)
			path, body := call.path, call.body
			if !stream {
				path = strings.Replace(path, ":streamGenerateContent?alt=sse", ":generateContent", 1)
				body = strings.Replace(body, `"stream":true,`, "", 1)
			}
			if status, text, _ := e.post(kind, path, body); status != http.StatusOK {
				t.Fatalf("%s: got %d %s", kind, status, text)
			}
			want := e.providers[kind].Calls()[0].Tokens
			got := e.settled(1)
			if got[0].Estimated || got[0].Failed || got[0].Tokens != (usage.Tokens{Input: want.Input, Cached: want.Cached, Output: want.Output}) {
				t.Errorf("%s, stream %v: got %+v, want %+v", kind, stream, got[0], want)
			}
		}
	}
}

func TestModelListHasTheAllowedModels(t *testing.T) {
	t.Parallel()
	e := setup(t, nil)
	for kind, call := range kinds {
		version, _, _ := strings.Cut(call.path[1:], "/")
		status, text, _ := e.do(http.MethodGet, "/models/"+string(kind)+"/"+version+"/models", "")
		if status != http.StatusOK || !strings.Contains(text, "small") || len(e.providers[kind].Calls()) != 0 {
			t.Errorf("%s: got %d %s", kind, status, text)
		}
	}
}

func TestEverythingElseIsRefused(t *testing.T) {
	t.Parallel()
	e := setup(t, nil)
	for _, tc := range []struct{ method, path string }{
		{"GET", "/models/openai/v1/files"},
		{"GET", "/models/openai/v1/responses/resp_1"},
		{"DELETE", "/models/openai/v1/responses/resp_1"},
		{"POST", "/models/openai/v1/responses/resp_1/cancel"},
		{"POST", "/models/openai/v1/batches"},
		{"POST", "/models/openai/v1/embeddings"},
		{"GET", "/models/openai/v1/models/m"},
		{"POST", "/models/openai/v1/responses?x=1"},
		{"POST", "/models/openai/v1/Responses"},
		{"POST", "/models/openai/v1/responses/"},
		{"POST", "/models/openai//v1/responses"},
		{"POST", "/models/openai/v1/%72esponses"},
		{"POST", "/models/openai/v1/x/../responses"},
		{"POST", "/models/openai/v1%2fresponses"},
		{"PUT", "/models/openai/v1/responses"},
		{"POST", "/models/openai/v1beta/responses"},
		{"POST", "/models/openai-compatible/v1/responses"},
		{"POST", "/models/anthropic/v1/messages/batches"},
		{"POST", "/models/anthropic/v1/complete"},
		{"GET", "/models/anthropic/v1/files"},
		{"POST", "/models/google/v1beta/models/m:streamGenerateContent"},
		{"POST", "/models/google/v1beta/models/m:streamGenerateContent?alt=sse&key=AIza"},
		{"POST", "/models/google/v1beta/models/m:streamGenerateContent?key=AIza&alt=sse"},
		{"POST", "/models/google/v1beta/models/m:batchGenerateContent"},
		{"POST", "/models/google/v1beta/models/m:generateContent:x"},
		{"POST", "/models/google/v1beta/models/../files:generateContent"},
		{"POST", "/models/google/v1beta/tunedModels/m:generateContent"},
		{"POST", "/models/google/v1beta/cachedContents"},
		{"POST", "/models/google/upload/v1beta/files"},
	} {
		status, text, _ := e.do(tc.method, tc.path, `{"model":"m","input":"x"}`)
		if status != http.StatusForbidden || !strings.Contains(text, `"message"`) {
			t.Errorf("%s %s: got %d %s, want 403 with a sentence", tc.method, tc.path, status, text)
		}
	}
	for kind, p := range e.providers {
		if len(p.Calls()) != 0 {
			t.Errorf("%s got %d calls", kind, len(p.Calls()))
		}
	}
	if status, _, _ := e.do("POST", "/models/nobody/v1/responses", "{}"); status != http.StatusNotFound {
		t.Errorf("unknown provider: got %d", status)
	}
}

func TestCallWithoutKeyIsRefused(t *testing.T) {
	t.Parallel()
	e := setup(t, func(o *model.Options) {
		for i := range o.Providers {
			o.Providers[i].Key = model.KeyFile("/nonexistent/key")
		}
	})
	for kind, call := range kinds {
		status, text, _ := e.post(kind, call.path, call.body)
		if status != http.StatusForbidden || !strings.Contains(text, string(kind)) || strings.Contains(text, "nonexistent") || len(e.providers[kind].Calls()) != 0 {
			t.Errorf("%s: got %d %s", kind, status, text)
		}
	}
}
