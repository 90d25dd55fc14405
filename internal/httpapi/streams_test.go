package httpapi_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"berth/internal/httpapi"
	"berth/internal/lifecycle"
	"berth/internal/session"
)

// open requests the stream of a session's events and returns the response; end closes the stream.
func (w *fixture) open(id session.ID, token string) (res *http.Response, end func()) {
	w.t.Helper()
	return w.openAt("/sessions/"+string(id)+"/events", token)
}

func (w *fixture) openAt(path, token string) (res *http.Response, end func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "text/event-stream")
	res, err = http.DefaultClient.Do(req)
	if err != nil {
		cancel()
		w.t.Fatal(err)
	}
	end = func() { cancel(); _ = res.Body.Close() }
	w.t.Cleanup(end)
	return res, end
}

// Holders of sessions' tokens cannot use up the connections of others; the operator's streams are not limited.
func TestStreamsOfEventsAreBounded(t *testing.T) {
	t.Parallel()
	var began atomic.Int64 // streams with sessions' tokens
	w := newFixtureWith(t, func(_ *fixture, o *httpapi.Options) {
		o.Streams, o.Streaming = 16, func(context.Context) { began.Add(1) }
	})
	var ids []session.ID
	var tokens []string
	for range 3 {
		s, token := w.Make(lifecycle.Request{})
		ids, tokens = append(ids, s.ID), append(tokens, token.Reveal())
	}
	refused := func(i int) {
		t.Helper()
		res, end := w.open(ids[i], tokens[i])
		defer end()
		if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") != "10" {
			t.Fatalf("one more: got %s, Retry-After %q, want 429 and 10", res.Status, res.Header.Get("Retry-After"))
		}
	}
	var last func()
	for i := range 2 {
		for n := range 8 {
			res, end := w.open(ids[i], tokens[i])
			if res.StatusCode != http.StatusOK {
				t.Fatalf("session %d, stream %d: got %s", i, n+1, res.Status)
			}
			last = end
		}
		refused(i)
	}
	refused(2) // all are at their limit
	path := "/sessions/" + string(ids[0]) + "/events"
	if a := w.call(http.MethodGet, path, tokens[0], ""); a.status != http.StatusOK {
		t.Errorf("the events without a stream: got %d", a.status)
	}
	for range 20 {
		if res, _ := w.open(ids[0], adminToken); res.StatusCode != http.StatusOK {
			t.Fatalf("a stream of the operator: got %s", res.Status)
		}
	}
	if n := began.Load(); n != 16 {
		t.Errorf("called for %d streams, want the 16 with sessions' tokens", n)
	}
	last()
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(5 * time.Millisecond) {
		res, end := w.open(ids[2], tokens[2])
		if res.StatusCode == http.StatusOK {
			return
		}
		end()
		if time.Now().After(deadline) {
			t.Fatal("the slot of an ended stream was not released within 10 s")
		}
	}
}

// Owners and platform tokens can read logs, and hold with that no more connections than with events.
func TestLogsAreBoundedLikeEvents(t *testing.T) {
	t.Parallel()
	w := newFixture(t)
	s, _ := w.Make(lifecycle.Request{Owner: "alice"})
	path := "/sessions/" + string(s.ID) + "/logs?follow=true"
	platform := w.issue("reader", []string{"sessions:read"}, "").Token
	for i := range 8 {
		token := alicesToken
		if i%2 == 0 {
			token = platform
		}
		if res, _ := w.openAt(path, token); res.StatusCode != http.StatusOK {
			t.Fatalf("log %d: got %s", i+1, res.Status)
		}
	}
	for _, token := range []string{alicesToken, platform} {
		if res, end := w.openAt(path, token); res.StatusCode != http.StatusTooManyRequests {
			t.Errorf("one more: got %s, want 429", res.Status)
			end()
		}
		if res, end := w.open(s.ID, token); res.StatusCode != http.StatusTooManyRequests {
			t.Errorf("events besides: got %s, want 429", res.Status)
			end()
		}
	}
	for range 10 {
		if res, _ := w.openAt(path, adminToken); res.StatusCode != http.StatusOK {
			t.Fatalf("a log of the operator: got %s", res.Status)
		}
	}
}
