package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"berth/internal/session"

	"berth/internal/waittest"
)

func TestDrainWaitsForRequestsAndThenEndsStreams(t *testing.T) {
	t.Parallel()
	texts, left := make(chan string), make(chan struct{}, 1)
	began, finish := make(chan struct{}, 1), make(chan struct{})
	w := setup(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/turn" {
			began <- struct{}{}
			<-finish
			_, _ = io.WriteString(w, "done")
			return
		}
		if r.URL.Path == "/plain" {
			return
		}
		eventStream(texts, left)(w, r)
	})
	events := openStream(t, w, texts)
	turn, r := make(chan answer, 1), w.request(t, http.MethodGet, "/turn", nil)
	go func() { turn <- w.do(t, r) }()
	within(t, "turn at the server", began)
	if got := w.proxy.InFlight(); got != 2 {
		t.Errorf("in flight: got %d, want 2", got)
	}

	drained := make(chan error, 1)
	quiet := make(chan struct{})
	watching := watchedContext{t.Context(), make(chan struct{}, 1)}
	go func() { drained <- w.proxy.Drain(watching, quiet) }()
	within(t, "drain waits", watching.waited)
	if got := w.get(t, "/plain"); got.status != 200 {
		t.Errorf("a request on a connection that was open already: got %d, want it served", got.status)
	}
	texts <- "streams go on while a request is in flight"
	if got, err := events.ReadString('\n'); err != nil || !strings.HasPrefix(got, "data: streams") {
		t.Errorf("got %q, %v", got, err)
	}
	close(finish)
	if got := within(t, "turn", turn); got.status != 200 || got.body != "done" {
		t.Errorf("the request that was waited for: got %d %q", got.status, got.body)
	}
	if err := within(t, "end of the stream", ending(events)); err == nil {
		t.Error("the stream ended as if it were complete")
	}
	if got := w.get(t, "/plain"); got.status != 200 {
		t.Errorf("a request that arrived last: got %d, want it served", got.status)
	}
	close(quiet)
	if err := within(t, "drain", drained); err != nil {
		t.Errorf("drain: %v", err)
	}
	w.get(t, "/plain").mustBe(t, 503, session.CodeShuttingDown, "drain is over")
	if got := w.proxy.InFlight(); got != 0 {
		t.Errorf("in flight after the drain: got %d", got)
	}
}

// A stream that starts after the others were ended must not delay the shutdown; a request is served.
func TestStreamThatBeginsWhileDrainingEndsAtOnce(t *testing.T) {
	t.Parallel()
	w := setup(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/plain" {
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	drained, quiet := make(chan error, 1), make(chan struct{})
	go func() { drained <- w.proxy.Drain(t.Context(), quiet) }()
	waittest.True(t, "streams have ended", w.proxy.streamsEnded.Load)
	ended, r := make(chan error, 1), w.request(t, http.MethodGet, "/event", nil)
	go func() {
		res, err := w.client.Do(r)
		if err == nil {
			_, err = io.ReadAll(res.Body)
			_ = res.Body.Close()
		}
		ended <- err
	}()
	if err := within(t, "end of the stream", ended); err == nil {
		t.Error("the stream ended as if it were complete")
	}
	if got := w.get(t, "/plain"); got.status != 200 {
		t.Errorf("a request: got %d, want it served", got.status)
	}
	close(quiet)
	if err := within(t, "drain", drained); err != nil {
		t.Errorf("drain: %v", err)
	}
}

// A call that joins after Drain has stopped the calls of all routes finds requestsEnded set, and is stopped.
func TestCallThatJoinsAfterDrainIsStopped(t *testing.T) {
	t.Parallel()
	w := setup(t, func(http.ResponseWriter, *http.Request) {})
	if err := w.proxy.Drain(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	route := w.route()
	route.Token.Digest = w.keys.Digest("a new token")
	w.table.Set(route)
	ctx, cancel := context.WithCancelCause(t.Context())
	late := &call{cancel: cancel, w: &recorder{ResponseWriter: httptest.NewRecorder()}, grant: w.table.entry(testID).present}
	if err := w.proxy.join(late); err != nil {
		t.Fatalf("the new grant has ended: %v", err)
	}
	defer late.grant.leave(late)
	if cause := context.Cause(ctx); !errors.Is(cause, errShuttingDown) || !errors.Is(late.stopped(), errShuttingDown) {
		t.Errorf("got %v and %v, want it stopped by the shutdown", cause, late.stopped())
	}
}

func TestDrainCutsOffRequestsAtItsDeadline(t *testing.T) {
	t.Parallel()
	began := make(chan struct{}, 1)
	w := setup(t, func(_ http.ResponseWriter, r *http.Request) { began <- struct{}{}; <-r.Context().Done() })
	cut, r := make(chan answer, 1), w.request(t, http.MethodGet, "/", nil)
	go func() { cut <- w.do(t, r) }()
	within(t, "request at the server", began)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := w.proxy.Drain(ctx, nil)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 requests were cut off") {
		t.Errorf("got %v, want it to say how many were cut off", err)
	}
	within(t, "the request that was cut off", cut).mustBe(t, 503, session.CodeShuttingDown, "cut off")
	if err := w.proxy.Drain(t.Context(), nil); err != nil {
		t.Errorf("second drain: %v", err)
	}
}

// watchedContext signals the first call of Done.
type watchedContext struct {
	context.Context
	waited chan struct{}
}

func (c watchedContext) Done() <-chan struct{} {
	select {
	case c.waited <- struct{}{}:
	default:
	}
	return c.Context.Done()
}
