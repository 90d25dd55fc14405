// Package webhook sends notices about sessions to the operator's receiver, as signed HTTP requests.
//
// It implements the format of the requests (that of standardwebhooks.com: webhook-id, webhook-timestamp, webhook-signature) and
// their retries. It does not decide which events are sent.
package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"berth/internal/lifecycle"
	"berth/internal/session"
)

// Options are a Sender's settings. URL and Secret are required.
type Options struct {
	URL        string         // http or https; a password in it is sent and never logged
	Secret     session.Secret // signs the requests
	Timeout    time.Duration  // of one request; default 10 s
	RetryAfter time.Duration  // before the second attempt; doubled for each further one; default 1 s
	Logger     *slog.Logger
}

const (
	tries = 5
	// waiting is the capacity of the queue. It is exceeded only while the receiver is unavailable; the oldest notices are kept.
	waiting = 1000
)

// Sender sends notices in order from a queue in memory. Notices that are queued when the process ends are lost; the log has them.
type Sender struct {
	opts   Options
	host   string // for logs
	queue  chan lifecycle.Notice
	client *http.Client
}

// New checks the options. It sends nothing before [Sender.Run].
func New(opts Options) (*Sender, error) {
	opts.Timeout = cmp.Or(opts.Timeout, 10*time.Second)
	opts.RetryAfter = cmp.Or(opts.RetryAfter, time.Second)
	opts.Logger = cmp.Or(opts.Logger, slog.New(slog.DiscardHandler))
	u, err := url.Parse(opts.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("the webhook's URL must begin with http:// or https:// and name a host")
	}
	if opts.Secret == "" {
		return nil, errors.New("the webhook has no secret to sign with")
	}
	return &Sender{
		opts: opts, host: u.Host, queue: make(chan lifecycle.Notice, waiting),
		client: &http.Client{Timeout: opts.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// Notify queues a notice. It never blocks.
func (s *Sender) Notify(n lifecycle.Notice) {
	select {
	case s.queue <- n:
	default:
		s.opts.Logger.ErrorContext(context.Background(), "notice not sent: too many are waiting", "session_id", n.Session, "event", n.Type)
	}
}

// Run sends until ctx ends.
func (s *Sender) Run(ctx context.Context) error {
	for {
		select {
		case n := <-s.queue:
			s.deliver(ctx, n)
		case <-ctx.Done():
			return nil
		}
	}
}

// deliver sends a notice, and retries until the receiver accepts or rejects it, or all attempts have failed.
func (s *Sender) deliver(ctx context.Context, n lifecycle.Notice) {
	body, err := json.Marshal(n)
	if err != nil {
		s.opts.Logger.ErrorContext(ctx, "notice not sent", "session_id", n.Session, "event", n.Type, "error", err)
		return
	}
	id := "msg_" + rand.Text()
	wait := s.opts.RetryAfter
	for try := 1; ; try++ {
		again, err := s.post(ctx, id, body)
		if err == nil || ctx.Err() != nil {
			return
		}
		if !again || try == tries {
			s.opts.Logger.ErrorContext(ctx, "notice not sent", "session_id", n.Session, "event", n.Type, "host", s.host, "tries", try, "error", err)
			return
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait *= 2
	}
}

// post sends a request. again: a retry may succeed.
func (s *Sender) post(ctx context.Context, id string, body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.opts.URL, bytes.NewReader(body))
	if err != nil {
		return false, errors.New("the webhook's URL cannot be used")
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "berth")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", at)
	req.Header.Set("Webhook-Signature", Sign(s.opts.Secret, id, at, body))
	resp, err := s.client.Do(req)
	if err != nil {
		if fault, ok := errors.AsType[*url.Error](err); ok {
			err = fault.Err // without the URL, which may contain a secret
		}
		return true, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4096)) // so that the connection can be reused
	switch {
	case resp.StatusCode < 300:
		return false, nil
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout:
		return true, fmt.Errorf("the receiver answered %s", resp.Status)
	default:
		return false, fmt.Errorf("the receiver answered %s", resp.Status)
	}
}

// Sign returns the signature of a request: HMAC-SHA256 of "<id>.<timestamp>.<body>", as "v1,<base64>".
func Sign(secret session.Secret, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
