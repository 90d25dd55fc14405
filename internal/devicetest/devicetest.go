// Package devicetest has a client that behaves as those of OpenCode's 2.x line do, for tests of what such a client needs: an address
// without a path, a password, pairing and its renewal, and an event stream.
//
// It is written from their published sources, not from a running one. It knows HTTP and nothing of Berth.
package devicetest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	username = "opencode"
	// FirstAnswer is how long such a client waits for the answer to its first request.
	FirstAnswer = 5 * time.Second
)

// Client is a client with a password: a session's token, or a device's. It may be copied, to have another password.
type Client struct {
	Origin   string // scheme and host; a path is dropped, as 2.x does
	Password string
	Agent    string            // User-Agent
	Header   map[string]string // of every request, such as Origin

	Transport http.RoundTripper
}

// New returns a client of an address. Its connections go to dial, a host and a port, or where the address says if that is empty: not every
// system resolves the names below localhost. Close ends its connections.
func New(address, dial, password string) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{DisableCompression: true, ForceAttemptHTTP2: true}
	if dial != "" {
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, dial)
		}
	}
	return &Client{Origin: u.Scheme + "://" + u.Host, Password: password, Agent: "opencode/2.0.12", Transport: t}, nil
}

// As returns the client with another password; empty: none.
func (c *Client) As(password string) *Client {
	other := *c
	other.Password = password
	return &other
}

// Close ends the client's idle connections.
func (c *Client) Close() {
	if t, ok := c.Transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// StatusError is an answer that is not the expected one.
type StatusError struct {
	Status int
	Body   string
}

func (e *StatusError) Error() string { return fmt.Sprintf("answered %d: %s", e.Status, e.Body) }

// Do sends a request with the client's password and returns the answer, whatever its status. The caller closes its body.
func (c *Client) Do(ctx context.Context, method, path, body string, header ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.Origin+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", c.Agent)
	r.Header.Set("Accept", "application/json")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.Password != "" {
		r.SetBasicAuth(username, c.Password)
	}
	for name, value := range c.Header {
		r.Header.Set(name, value)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return c.Transport.RoundTrip(r)
}

// Call is Do for an answer of 200 with JSON, which it decodes into out. Any other status is a [StatusError].
func (c *Client) Call(ctx context.Context, method, path, body string, out any, header ...string) error {
	res, err := c.Do(ctx, method, path, body, header...)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return &StatusError{res.StatusCode, string(text)}
	}
	return json.Unmarshal(text, out)
}

// Info is the client's first request.
func (c *Client) Info(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, FirstAnswer)
	defer cancel()
	var info map[string]any
	return c.Call(ctx, http.MethodGet, "/api/info", "", &info)
}

// Pair asks for a pairing code, for a device of this name; empty: none.
func (c *Client) Pair(ctx context.Context, name string) (code string, err error) {
	body := ""
	if name != "" {
		text, err := json.Marshal(map[string]string{"name": name})
		if err != nil {
			return "", err
		}
		body = string(text)
	}
	var got struct {
		Code      string `json:"code"`
		ExpiresIn int    `json:"expires_in"`
	}
	if err := c.Call(ctx, http.MethodPost, "/api/pair", body, &got); err != nil {
		return "", err
	}
	if got.Code == "" || got.ExpiresIn != 300 {
		return "", fmt.Errorf("got the code %q for %d s, want one for 300 s", got.Code, got.ExpiresIn)
	}
	return got.Code, nil
}

// Connect redeems a code, without the password, and returns the device's token.
func (c *Client) Connect(ctx context.Context, code string) (token string, err error) {
	var got struct {
		Token string `json:"token"`
	}
	if err := c.As("").Call(ctx, http.MethodGet, "/auth/connect/"+code, "", &got); err != nil {
		return "", err
	}
	if got.Token == "" {
		return "", errors.New("got no token")
	}
	return got.Token, nil
}

// Paired pairs a device by a new code, and returns it.
func (c *Client) Paired(ctx context.Context, name string) (*Client, error) {
	code, err := c.Pair(ctx, name)
	if err != nil {
		return nil, err
	}
	token, err := c.Connect(ctx, code)
	if err != nil {
		return nil, err
	}
	return c.As(token), nil
}

// Events opens the event stream and returns its lines; they end with the stream, or with ctx.
func (c *Client) Events(ctx context.Context) (<-chan string, error) {
	res, err := c.Do(ctx, http.MethodGet, "/api/event", "", "Accept", "text/event-stream")
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return nil, &StatusError{res.StatusCode, string(text)}
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		defer res.Body.Close()
		for scanner := bufio.NewScanner(res.Body); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines, nil
}

// browser is what a browser's navigation says of itself.
var browser = []string{
	"Accept", "text/html,application/xhtml+xml", "Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document",
}

// Browse opens the address of a code as a browser does that runs no scripts and presses the button of the page, and returns the
// cookie that it gets and the path that it is sent to.
func (c *Client) Browse(ctx context.Context, code string) (cookie *http.Cookie, landing string, err error) {
	c = c.As("")
	page, err := c.Do(ctx, http.MethodGet, "/auth/connect/"+code, "", browser...)
	if err != nil {
		return nil, "", err
	}
	defer page.Body.Close()
	text, err := io.ReadAll(page.Body)
	if err != nil || page.StatusCode != http.StatusOK || !strings.Contains(string(text), `name="pairing" value="`+code+`"`) {
		return nil, "", &StatusError{page.StatusCode, string(text)}
	}
	form := append([]string{"Content-Type", "application/x-www-form-urlencoded", "Origin", c.Origin}, browser...)
	res, err := c.Do(ctx, http.MethodPost, "/.berth/sign-in", "pairing="+url.QueryEscape(code), form...)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	text, err = io.ReadAll(res.Body)
	if cookies := res.Cookies(); err == nil && res.StatusCode == http.StatusSeeOther && len(cookies) == 1 {
		return cookies[0], res.Header.Get("Location"), nil
	}
	return nil, "", &StatusError{res.StatusCode, string(text)}
}
