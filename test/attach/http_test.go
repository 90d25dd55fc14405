package attach_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// patience is how long an answer may take on a machine that is busy with other tests.
const patience = 30 * time.Second

// credential puts the session's token into a request.
type credential func(*http.Request)

// credential is one of the ways in which a program shows the session's token, or a sign-in that it got for it.
func (d *door) credential(kind string) (credential, error) {
	switch kind {
	case "bearer":
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+d.Token) }, nil
	case "basic":
		return func(r *http.Request) { r.SetBasicAuth("anybody", d.Token) }, nil
	case "query":
		return func(r *http.Request) {
			query := r.URL.Query()
			query.Set("auth_token", base64.StdEncoding.EncodeToString([]byte("anybody:"+d.Token)))
			r.URL.RawQuery = query.Encode()
		}, nil
	}
	cookie, err := d.signIn()
	return func(r *http.Request) {
		r.AddCookie(cookie)
		r.Header.Set("Origin", d.origin()) // as a page of the session
	}, err
}

// signIn sends the form of the sign-in page and returns the cookie that it is answered with.
func (d *door) signIn() (*http.Cookie, error) {
	req, err := http.NewRequestWithContext(d.Context(), http.MethodPost, d.origin()+"/.berth/sign-in", strings.NewReader(url.Values{"token": {d.Token}}.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", d.origin())
	a, err := d.do(req)
	if err != nil {
		return nil, err
	}
	for _, cookie := range (&http.Response{Header: a.header}).Cookies() {
		if a.status == http.StatusSeeOther && strings.HasPrefix(cookie.Name, "__Host-") {
			return cookie, nil
		}
	}
	return nil, fmt.Errorf("sign in: %s, without a cookie", a)
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %.300s", a.status, a.body) }

func (d *door) do(req *http.Request) (answer, error) {
	ctx, cancel := context.WithTimeout(req.Context(), patience)
	defer cancel()
	resp, err := d.client.Do(req.WithContext(ctx))
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, body}, err
}

// call makes a request of a program and decodes its answer, which must be 200.
func (d *door) call(method, path, body string, show credential, out any) error {
	req, err := http.NewRequestWithContext(d.Context(), method, d.base.String()+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	show(req)
	a, err := d.do(req)
	if err != nil || a.status != http.StatusOK {
		return fmt.Errorf("%s %s: %s, %w", method, path, a, err)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(a.body, out)
}

// with tries one kind of credential, with a request of curl's and with an upgrade.
func with(kind string) func(*door) (string, error) {
	return func(d *door) (string, error) {
		show, err := d.credential(kind)
		if kind == "cookie" && d.By == "path" {
			if err == nil {
				return "", fmt.Errorf("a sign-in by path was not refused")
			}
			return "only at an address of its own", nil
		}
		if err != nil {
			return "", err
		}
		if err := d.curl(show); err != nil {
			return "", err
		}
		return works, d.echo(show)
	}
}

// curl asks for the health of the server.
func (d *door) curl(show credential) error {
	req, err := http.NewRequestWithContext(d.Context(), http.MethodGet, d.base.String()+"/global/health", http.NoBody)
	if err != nil {
		return err
	}
	show(req)
	line := "curl --silent --show-error --fail --max-time 30"
	for name, values := range req.Header {
		line += " --header '" + name + ": " + values[0] + "'"
	}
	if d.authority != nil {
		line += " --cacert ca.pem"
	}
	out, err := d.programs.run(d.T, line+" '"+req.URL.String()+"'")
	var health struct{ Healthy bool }
	if err != nil || json.Unmarshal([]byte(out), &health) != nil || !health.Healthy {
		return fmt.Errorf("curl: %w: %s", err, strings.ReplaceAll(out, d.Token, "TOKEN"))
	}
	return nil
}

// echo has a terminal of the session's server compute something, over a WebSocket.
func (d *door) echo(show credential) error {
	var made struct{ ID string }
	if err := d.call(http.MethodPost, "/pty", `{"command":"/bin/bash","args":["--norc"],"title":"t"}`, show, &made); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base.String()+"/pty/"+made.ID+"/connect", http.NoBody)
	if err != nil {
		return err
	}
	show(req)
	conn, _, err := websocket.Dial(ctx, req.URL.String(), &websocket.DialOptions{HTTPHeader: req.Header, HTTPClient: d.http1})
	if err != nil {
		return fmt.Errorf("connect to a terminal: %w", err)
	}
	defer conn.CloseNow()
	if err := conn.Write(ctx, websocket.MessageText, []byte("echo echoed-$((6*7)); exit\n")); err != nil {
		return err
	}
	var seen strings.Builder
	for !strings.Contains(seen.String(), "echoed-42") {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return fmt.Errorf("read from the terminal: %w; so far: %q", err, seen.String())
		}
		seen.Write(data)
	}
	return nil
}

// sdk does what the SDK's client does first, which sends HTTP Basic: it follows the events, lists the conversations and begins one.
func sdk(d *door) (string, error) {
	show := func(r *http.Request) { r.SetBasicAuth("opencode", d.Token) }
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base.String()+"/event", http.NoBody)
	if err != nil {
		return "", err
	}
	show(req)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := d.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return "", fmt.Errorf("events: got %s %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	events := bufio.NewScanner(resp.Body)
	events.Buffer(nil, 1<<20)
	await := func(text string) error {
		for events.Scan() {
			if strings.Contains(events.Text(), text) {
				return nil
			}
		}
		return fmt.Errorf("the events ended before one with %q: %w", text, events.Err())
	}
	if err := await("server.connected"); err != nil {
		return "", err
	}
	var made struct{ ID string }
	if err := d.call(http.MethodPost, "/session", `{"title":"of the SDK"}`, show, &made); err != nil {
		return "", err
	}
	if err := await(made.ID); err != nil { // while the stream is open
		return "", err
	}
	var list []struct{ ID string }
	if err := d.call(http.MethodGet, "/session", "", show, &list); err != nil {
		return "", err
	}
	for _, one := range list {
		if one.ID == made.ID {
			return works, nil
		}
	}
	return "", fmt.Errorf("%s is not among %v", made.ID, list)
}
