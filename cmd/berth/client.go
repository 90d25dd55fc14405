package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"berth/internal/httpapi"
	"berth/internal/session"
)

// client calls the API of a Berth as an operator.
type client struct {
	base          *url.URL
	token         session.Secret
	source        string // where the token comes from
	http          *http.Client
	answerTimeout time.Duration // until a response begins; after it, a request that may take longer checks that Berth is alive
}

// answerTimeout bounds the wait for a response: a socket of systemd's accepts connections also while Berth is not running.
const answerTimeout = 30 * time.Second

func newClient(base *url.URL, token session.Secret, source string) *client {
	return &client{base: base, token: token, source: source, answerTimeout: answerTimeout, http: &http.Client{
		// The admin token is sent to this address only.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// call makes a request and decodes the response into out, which may be nil. A problem document is returned as an
// *apiError.
func (c *client) call(ctx context.Context, method, path string, header http.Header, in, out any) error {
	resp, err := c.send(ctx, method, path, header, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the response of %s: %w", c.base.Redacted(), err)
	}
	return nil
}

// pages lists all items of a path with pagination: {"sessions": […], "next": "…"}.
func pages[T any](ctx context.Context, c *client, path string, query url.Values) ([]T, error) {
	all := []T{}
	query.Set("limit", "1000")
	for {
		var page struct {
			Sessions []T    `json:"sessions"`
			Next     string `json:"next"`
		}
		if err := c.call(ctx, http.MethodGet, path+"?"+query.Encode(), nil, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Sessions...)
		if page.Next == "" {
			return all, nil
		}
		query.Set("after", page.Next)
	}
}

// send makes a request; the caller reads and closes the response. A status other than success is returned as an error. The
// response to a GET must begin within the client's time-out; other requests may take any time as long as Berth is alive.
func (c *client) send(ctx context.Context, method, path string, header http.Header, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	target, err := c.base.Parse(path)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, withHint(context.Cause(ctx), "Berth continues the operation; berth session list shows the result, and berth session rotate gives a new session its token")
		}
		return nil, unreachable(c.base, err)
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	defer resp.Body.Close()
	failure := &apiError{}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if json.Unmarshal(text, &failure.Problem) != nil || failure.Code == "" {
		return nil, unexpected(c.base, resp, text)
	}
	if failure.Status == http.StatusUnauthorized {
		failure.hint = fmt.Sprintf("the token of %s is not valid for the Berth at %s; name another one with --token-file or BERTH_ADMIN_TOKEN_FILE",
			c.source, c.base.Redacted())
	}
	return nil, failure
}

// do sends a request and cancels it when no response begins in time.
func (c *client) do(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	waiting := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		wait := time.NewTicker(c.answerTimeout)
		defer wait.Stop()
		for {
			select {
			case <-waiting:
				return
			case <-wait.C:
			}
			if req.Method != http.MethodGet && c.isAlive(ctx) {
				continue
			}
			select {
			case <-waiting: // the response has begun meanwhile
			default:
				cancel(errNoAnswer)
			}
			return
		}
	})
	resp, err := c.http.Do(req.WithContext(ctx))
	close(waiting)
	if err == nil {
		resp.Body = &bodyWithClose{ReadCloser: resp.Body, onClose: func() { cancel(nil) }}
		return resp, nil
	}
	noAnswer := errors.Is(context.Cause(ctx), errNoAnswer)
	cancel(nil)
	watch.Wait()
	if noAnswer {
		err = &url.Error{Op: req.Method, URL: c.base.Redacted(), Err: fmt.Errorf("%w within %s", errNoAnswer, c.answerTimeout)}
	}
	return nil, err
}

var errNoAnswer = errors.New("it accepts the connection and does not answer")

// isAlive reports whether Berth answers GET /livez within the client's time-out.
func (c *client) isAlive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, c.answerTimeout)
	defer cancel()
	target, err := c.base.Parse("/livez")
	if err != nil {
		return false
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return false
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil
}

// bodyWithClose is a response body that calls onClose when it is closed.
type bodyWithClose struct {
	io.ReadCloser
	onClose func()
}

// Close closes the body.
func (b *bodyWithClose) Close() error {
	defer b.onClose()
	return b.ReadCloser.Close()
}

// unreachable is the error for a server that cannot be reached, with the cause and a hint.
func unreachable(base *url.URL, err error) error {
	problem := &apiError{Problem: httpapi.Problem{
		Code:   session.CodeEngineUnavailable,
		Detail: fmt.Sprintf("cannot reach Berth at %s: %v", base.Redacted(), errors.Unwrap(err)),
	}, hint: "start it with berth serve, or name its address with --url or BERTH_URL"}
	var verification *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errNoAnswer):
		problem.hint = "Berth is not running or still starting, and systemd holds its socket: systemctl status berth, journalctl -u berth -p err"
	case errors.Is(err, http.ErrSchemeMismatch):
		problem.Detail = fmt.Sprintf("%s does not speak TLS", base.Host)
		problem.hint = fmt.Sprintf("use http://%s, or the address of the proxy that terminates TLS in front of Berth", base.Host)
	case errors.As(err, &verification):
		problem.Detail = fmt.Sprintf("the certificate of %s is not trusted: %v", base.Host, verification.Err)
		problem.hint = "use a name that the certificate is valid for; the certificate of a private authority goes into the file that SSL_CERT_FILE names"
	}
	return problem
}

// unexpected is the error for a response that is not one of Berth's API, with a hint.
func unexpected(base *url.URL, resp *http.Response, text []byte) error {
	err := fmt.Errorf("%s answered %s: this is not Berth's API", base.Redacted(), resp.Status)
	switch {
	case strings.Contains(string(text), "HTTP request to an HTTPS server"):
		return withHint(err, "it speaks TLS: use https://%s", base.Host)
	case resp.StatusCode < http.StatusBadRequest: // redirects are not followed
		return withHint(err, "it redirects to %q: name that address with --url if it is Berth's", resp.Header.Get("Location"))
	}
	return withHint(err, "name the address of Berth with --url or BERTH_URL")
}

// apiError is a problem document of the server.
type apiError struct {
	httpapi.Problem
	hint string
}

// Error is the problem's detail and faults, and the request ID to look for in the log.
func (e *apiError) Error() string {
	var b strings.Builder
	b.WriteString(e.Detail)
	for _, fault := range e.Faults {
		fmt.Fprintf(&b, "\n  %s: %s", fault.Location, fault.Message)
	}
	if e.RequestID != "" && e.Status >= http.StatusInternalServerError {
		fmt.Fprintf(&b, " [%s]", e.RequestID)
	}
	return b.String()
}

// Hint is printed on a separate line.
func (e *apiError) Hint() string { return e.hint }
