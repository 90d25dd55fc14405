package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/session"
	"berth/internal/webhook"
)

const secret = session.Secret("only the receiver knows it too")

type received struct {
	header http.Header
	body   []byte
}

// receive starts a receiver that answers with these statuses in turn and then with 200.
func receive(t *testing.T, statuses ...int) (url string, requests <-chan received) {
	t.Helper()
	got := make(chan received, 100)
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		status := http.StatusOK
		if len(statuses) > 0 {
			status, statuses = statuses[0], statuses[1:]
		}
		mu.Unlock()
		w.WriteHeader(status)
		got <- received{r.Header, body}
	}))
	t.Cleanup(server.Close)
	return server.URL, got
}

func run(t *testing.T, opts webhook.Options) *webhook.Sender {
	t.Helper()
	opts.Secret, opts.RetryAfter = secret, time.Millisecond
	s, err := webhook.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func next(t *testing.T, requests <-chan received) received {
	t.Helper()
	select {
	case r := <-requests:
		return r
	case <-time.After(20 * time.Second):
		t.Fatal("no request arrived")
		return received{}
	}
}

func TestNoticeIsSentAndSigned(t *testing.T) {
	t.Parallel()
	url, requests := receive(t)
	s := run(t, webhook.Options{URL: url})
	want := lifecycle.Notice{At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Type: session.EventFailed, Session: "ses-a", Owner: "ann", Reason: "the server exited", Restarts: 3}
	s.Notify(want)
	r := next(t, requests)
	var got lifecycle.Notice
	if err := json.Unmarshal(r.body, &got); err != nil || got != want {
		t.Errorf("got %s (%v), want %+v", r.body, err, want)
	}
	id, at := r.header.Get("Webhook-Id"), r.header.Get("Webhook-Timestamp")
	if got := r.header.Get("Webhook-Signature"); id == "" || at == "" || got != webhook.Sign(secret, id, at, r.body) {
		t.Errorf("the signature is %q for the id %q at %q", got, id, at)
	}
	if webhook.Sign(secret, id, at, append(r.body, ' ')) == r.header.Get("Webhook-Signature") {
		t.Error("the signature does not depend on the body")
	}
}

// The signature follows the standard, so that receivers can use existing libraries.
func TestSignatureFollowsStandard(t *testing.T) {
	t.Parallel()
	got := webhook.Sign("key", "msg_1", "1700000000", []byte("{}"))
	const want = "v1,XaXLFEFQ69Q4+demDWPEv5ydXczDW2mM5crCUEFcFBA=" // as openssl dgst -sha256 -hmac makes it
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUnavailableReceiverIsRetried(t *testing.T) {
	t.Parallel()
	url, requests := receive(t, 503, 429, 500)
	run(t, webhook.Options{URL: url}).Notify(lifecycle.Notice{Session: "ses-a"})
	first := next(t, requests)
	for range 3 {
		if again := next(t, requests); again.header.Get("Webhook-Id") != first.header.Get("Webhook-Id") {
			t.Error("the retry has another id")
		}
	}
}

func TestRejectedNoticeIsNotRetried(t *testing.T) {
	t.Parallel()
	url, requests := receive(t, 400)
	s := run(t, webhook.Options{URL: url})
	s.Notify(lifecycle.Notice{Session: "ses-a"})
	s.Notify(lifecycle.Notice{Session: "ses-b"})
	next(t, requests)
	if r := next(t, requests); !strings.Contains(string(r.body), "ses-b") {
		t.Errorf("got %s, want the next notice", r.body)
	}
}

func TestURLIsNotInErrors(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var mu sync.Mutex
	done := make(chan struct{})
	s := run(t, webhook.Options{URL: "http://user:hidden@127.0.0.1:1/token-hidden", Logger: slog.New(slog.NewTextHandler(writer(func(p []byte) {
		mu.Lock()
		defer mu.Unlock()
		log.Write(p)
		close(done)
	}), nil))})
	s.Notify(lifecycle.Notice{Session: "ses-a"})
	<-done
	mu.Lock()
	defer mu.Unlock()
	if text := log.String(); strings.Contains(text, "hidden") || !strings.Contains(text, "notice not sent") {
		t.Errorf("got %s", text)
	}
	for _, url := range []string{"", "ftp://x/", "http://", "/x"} {
		if _, err := webhook.New(webhook.Options{URL: url, Secret: secret}); err == nil {
			t.Errorf("%q was accepted", url)
		}
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }
