// Package probe checks whether a server is ready for requests.
//
// It distinguishes a server that works from one that merely has an open port, by status, media type and content of its response. It
// does not depend on containers and sessions, and does not decide when to probe again.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"berth/internal/session"
)

// maxBody bounds how much of a response is read. Health documents have some hundred bytes.
const maxBody = 64 << 10

// connectTimeout bounds the connection set-up, for contexts without a deadline.
const connectTimeout = 5 * time.Second

// Prober probes servers over HTTP. It is safe for concurrent use and keeps no connection open between two probes.
type Prober struct {
	client *http.Client
}

var _ session.Prober = (*Prober)(nil)

// New returns a Prober that ignores the proxy settings of the environment and follows no redirects.
func New() *Prober { return NewOn((&net.Dialer{Timeout: connectTimeout}).DialContext) }

// NewOn is New with another dialer, such as that of a network in memory.
func NewOn(dial func(ctx context.Context, network, address string) (net.Conn, error)) *Prober {
	return &Prober{client: &http.Client{
		Transport: &http.Transport{
			Proxy:       nil, // a proxy cannot reach a container's address, and must not get its credential
			DialContext: dial,
			// A connection that was opened before the server attached its handler is never answered, so that no connection is
			// used for a second probe.
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxBody,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Probe returns nil if the server answers the profile's readiness path with 200, JSON and a true member, or with the other status
// that the profile requires, and then the second path, if there is one, with 200 and JSON. If only the second one fails the error is
// a session.ErrUnresponsive. A server whose profile says that it is private must refuse its readiness path without the credential.
func (p *Prober) Probe(ctx context.Context, t session.Target) error {
	if t.Profile == nil {
		return errors.New("probe: the target has no profile")
	}
	ready := t.Profile.Ready
	if !ready.WantsJSON() {
		if err := p.request(ctx, t, ready.Path, ready.Status, func(*http.Response) error { return nil }); err != nil {
			return err
		}
	} else if err := p.get(ctx, t, ready.Path, func(body io.Reader) error { return checkMember(body, ready.Member) }); err != nil {
		return err
	}
	if ready.Private {
		if err := p.requireRefusal(ctx, t); err != nil {
			return err
		}
	}
	if ready.Then == "" {
		return nil
	}
	if err := p.get(ctx, t, ready.Then, checkJSON); err != nil {
		return fmt.Errorf("%w: %w", session.ErrUnresponsive, err)
	}
	return nil
}

// Busy requests the profile's busy paths in turn until one reports work.
func (p *Prober) Busy(ctx context.Context, t session.Target) (bool, error) {
	for _, b := range t.Profile.Busy {
		busy := false
		if err := p.get(ctx, t, b.Path, func(body io.Reader) (err error) { busy, err = reportsWork(body, b); return err }); err != nil || busy {
			return busy, err
		}
	}
	return false, nil
}

// reportsWork checks each element of an array or member of an object.
func reportsWork(body io.Reader, b session.BusyProbe) (bool, error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	if b.Within != "" {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(text, &object); err != nil || object[b.Within] == nil {
			return false, fmt.Errorf("answered %s, which is not an object with a member %q", excerpt(text), b.Within)
		}
		text = object[b.Within]
	}
	var list []map[string]any
	if json.Unmarshal(text, &list) != nil {
		var object map[string]map[string]any
		if err := json.Unmarshal(text, &object); err != nil {
			return false, fmt.Errorf("answered %s, which is neither an array nor an object of objects", excerpt(text))
		}
		list = slices.Collect(maps.Values(object))
	}
	return slices.ContainsFunc(list, func(element map[string]any) bool {
		value, _ := element[b.Member].(string)
		return len(b.Values) == 0 || slices.Contains(b.Values, value)
	}), nil
}

// get requires 200 and JSON that passes the check.
func (p *Prober) get(ctx context.Context, t session.Target, path string, check func(io.Reader) error) error {
	return p.request(ctx, t, path, http.StatusOK, func(answer *http.Response) error {
		if kind := answer.Header.Get("Content-Type"); !isJSON(kind) {
			return fmt.Errorf("answered 200 with %q instead of JSON; a path that the server does not know looks like this", kind)
		}
		return check(io.LimitReader(answer.Body, maxBody))
	})
}

// request requires a response with this status that passes the check.
func (p *Prober) request(ctx context.Context, t session.Target, path string, status int, check func(*http.Response) error) error {
	answer, err := p.send(ctx, t, path, true)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != status {
		return fmt.Errorf("probe %s: answered %s", path, answer.Status)
	}
	if err := check(answer); err != nil {
		return fmt.Errorf("probe %s: %w", path, err)
	}
	return nil
}

// requireRefusal requires that the server refuses its readiness path without the credential.
func (p *Prober) requireRefusal(ctx context.Context, t session.Target) error {
	answer, err := p.send(ctx, t, t.Profile.Ready.Path, false)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized && answer.StatusCode != http.StatusForbidden {
		return fmt.Errorf("probe %s without the password: answered %s instead of 401; the server has not taken its password, and lets everybody in",
			t.Profile.Ready.Path, answer.Status)
	}
	return nil
}

// send sends a request. The caller closes the answer's body.
func (p *Prober) send(ctx context.Context, t session.Target, path string, credential bool) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.Address+path, nil)
	if err != nil {
		return nil, fmt.Errorf("probe %s: %w", path, err)
	}
	if credential {
		r.SetBasicAuth(t.Profile.Username, t.Credential.Reveal())
	}
	r.Header.Set("Accept", "application/json")
	answer, err := p.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err) // the error contains the method, the address and the path
	}
	return answer, nil
}

func isJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && kind == "application/json"
}

// checkMember requires an object whose member is true; any object if member is empty.
func checkMember(body io.Reader, member string) error {
	text, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil || object == nil {
		return fmt.Errorf("answered %s, which is not a JSON object of at most %d bytes", excerpt(text), maxBody)
	}
	if member == "" {
		return nil
	}
	value, ok := object[member]
	switch {
	case !ok:
		return fmt.Errorf("answered without a member %q", member)
	case string(value) != "true":
		return fmt.Errorf("answered %q: %s", member, excerpt(value))
	}
	return nil
}

// checkJSON checks the beginning only: the response may be a list of any length.
func checkJSON(body io.Reader) error {
	if _, err := json.NewDecoder(body).Token(); err != nil {
		return fmt.Errorf("answered something that is not JSON: %w", err)
	}
	return nil
}

// excerpt quotes the beginning of a response.
func excerpt(text []byte) string {
	const most = 80
	s := strings.ToValidUTF8(string(text[:min(len(text), most)]), "")
	if len(text) > most {
		s += "…"
	}
	return fmt.Sprintf("%q", s)
}
