package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"berth/internal/app"
	"berth/internal/config"
	"berth/internal/httpapi"
	"berth/internal/session"
)

// remote says which Berth a command talks to.
type remote struct {
	URL       string `name:"url" env:"BERTH_URL" default:"http://127.0.0.1:8080" help:"Address of Berth."`
	TokenFile string `env:"BERTH_ADMIN_TOKEN_FILE" type:"path" placeholder:"FILE" help:"File with the admin token. Default: admin-token in the state directory."`
}

// client calls the API of a Berth as its operator.
type client struct {
	base  *url.URL
	token session.Secret
	http  *http.Client
}

func (r remote) client(std *stdio) (*client, error) {
	base, err := url.Parse(r.URL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, usageError(fmt.Errorf("%q is not an address like http://127.0.0.1:8080", r.URL))
	}
	token, err := r.adminToken(std)
	if err != nil {
		return nil, err
	}
	return &client{base: base, token: token, http: &http.Client{
		// The admin token goes to this address and to no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// adminToken takes the environment's token unless a file was named.
func (r remote) adminToken(std *stdio) (session.Secret, error) {
	file := r.TokenFile
	if file == "" {
		// Faults of settings that matter to the server only are none of the client's business.
		cfg, _ := config.Load(config.Options{Environ: std.Environ})
		if cfg.Server.AdminToken != "" {
			return cfg.Server.AdminToken, nil
		}
		file = app.AdminTokenFile(cfg.Server.StateDir)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the admin token; name its file with --token-file or BERTH_ADMIN_TOKEN_FILE: %w", err)
	}
	return session.Secret(strings.TrimSpace(string(text))), nil
}

// call makes a request and decodes the answer into out, which may be nil. A problem document comes back as an
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
		return fmt.Errorf("read the answer of %s: %w", c.base.Redacted(), err)
	}
	return nil
}

// send makes a request whose answer the caller reads and closes. Answers that are no success come back as errors.
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
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, withHint(context.Cause(ctx), "Berth goes on with what it has begun; berth session list shows what became of it")
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
		return nil, fmt.Errorf("%s answered %s: is Berth there?", c.base.Redacted(), resp.Status)
	}
	return nil, failure
}

// unreachable says what to do about a server that cannot be reached.
func unreachable(base *url.URL, err error) error {
	return &apiError{Problem: httpapi.Problem{
		Code:   session.CodeEngineUnavailable,
		Detail: fmt.Sprintf("cannot reach Berth at %s: %v", base.Redacted(), errors.Unwrap(err)),
	}, hint: "start it with berth serve, or name its address with --url or BERTH_URL"}
}

// apiError is a problem that the server told.
type apiError struct {
	httpapi.Problem
	hint string
}

// Error gives the problem's detail and faults, and the request ID to look for in the log.
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

// Hint is printed on a line of its own.
func (e *apiError) Hint() string { return e.hint }
