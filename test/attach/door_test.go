package attach_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"berth/internal/porttest"
	"berth/internal/tlstest"
	"berth/test/harness"
)

const (
	ownName = "berth.example.test"
	domain  = "ses.example.test"
)

// room is a session, as the API describes it to a person who wants to use it.
type room struct {
	*harness.Env
	ID        string             `json:"session_id"`
	Token     string             `json:"token"`
	Addresses []address          `json:"addresses"`
	authority *tlstest.Authority // nil: without TLS
	programs  *programs
	tab       tab
	desktop   string // origin of the page of a desktop client, which is one of CORS_ORIGINS
}

type address struct{ By, URL, Attach string }

// door is one address of a session.
type door struct {
	*room
	*testing.T
	address
	base   *url.URL // ends without a slash
	client *http.Client
	http1  *http.Client // for WebSockets
}

// openRoom makes an installation with one session.
func openRoom(t *testing.T, secure bool) *room {
	t.Helper()
	w := harness.NewOpenCode(t)
	r := &room{Env: w, desktop: serveDesktop(t)}
	w.Vars["SESSION_ROUTE"] = "published" // containers of other tests go by the network
	w.Vars["CORS_ORIGINS"], w.Vars["SESSION_DEVICES"] = r.desktop, "true"
	w.Vars["CONTAINER_CPU_QUOTA"] = "200000" // only the time that it takes depends on it
	if secure {
		port := strconv.Itoa(porttest.Free(t))
		w.Vars["SESSION_PORTS"] = port + "-" + port
		r.authority = w.ServeTLS(ownName, domain)
	}
	w.StartServe()
	a := w.Call(http.MethodPost, "/sessions", w.AdminToken(), `{"owner":"alice"}`)
	if a.Status != http.StatusCreated {
		t.Fatalf("create a session: got %s", a)
	}
	harness.Must(t, json.Unmarshal(a.Body, r))
	r.programs = newPrograms(t, r)
	return r
}

// show asks the API what the session's addresses are, and the command line for the same.
func (r *room) show(t *testing.T) {
	t.Helper()
	a := r.Call(http.MethodGet, "/sessions/"+r.ID, r.AdminToken(), "")
	r.Addresses = nil
	harness.Must(t, json.Unmarshal(a.Body, r))
	printed := r.Run("session", "show", r.ID)
	for _, at := range r.Addresses {
		for _, want := range []string{at.URL, at.Attach} {
			if at.By == "path" {
				want = at.Attach
			}
			if !slices.ContainsFunc(strings.Split(printed, "\n"), func(line string) bool { return strings.HasSuffix(line, want) }) {
				t.Errorf("berth session show does not print %s:\n%s", want, printed)
			}
		}
	}
}

// door is the session's address of a kind. It fails the test when there is none.
func (r *room) door(t *testing.T, by string) *door {
	t.Helper()
	i := slices.IndexFunc(r.Addresses, func(a address) bool { return a.By == by })
	if i < 0 {
		t.Fatalf("the session has no address by %s: %v", by, r.Addresses)
	}
	base, err := url.Parse(strings.TrimSuffix(r.Addresses[i].URL, "/"))
	harness.Must(t, err)
	// Like curl, it resolves names below localhost by itself. Those of the test are not in any DNS.
	client := func(http2 bool) *http.Client {
		transport := &http.Transport{DialContext: harness.ToThisMachine}
		if r.authority != nil {
			transport.TLSClientConfig, transport.ForceAttemptHTTP2 = r.authority.Client(""), http2
		}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return &door{room: r, T: t, address: r.Addresses[i], base: base, client: client(true), http1: client(false)}
}

// origin is what a browser calls the door's origin.
func (d *door) origin() string { return d.base.Scheme + "://" + d.base.Host }

// link makes a link that signs a browser in at the door.
func (d *door) link() string {
	d.Helper()
	a := d.Call(http.MethodPost, "/sessions/"+d.ID+"/links", d.Token, "")
	var made struct{ Links []address }
	if a.Status != http.StatusCreated || json.Unmarshal(a.Body, &made) != nil {
		d.Fatalf("make a link: got %d", a.Status)
	}
	for _, at := range made.Links {
		if at.By == d.By {
			return at.URL
		}
	}
	d.Fatalf("there is no link by %s", d.By)
	return ""
}

// file is the text of a file of the workspace, which a program asks for by path.
func (r *room) file(t *testing.T, name string) (string, error) {
	t.Helper()
	a := r.Call(http.MethodGet, "/s/"+r.ID+"/file/content?directory=/workspace&path="+name, r.Token, "")
	var file struct{ Content string }
	if err := json.Unmarshal(a.Body, &file); err != nil || a.Status != http.StatusOK {
		return "", fmt.Errorf("read %s: %d %.200s", name, a.Status, a.Body)
	}
	return strings.TrimSpace(file.Content), nil
}

// caFile is the file of the authority's certificate; "" without TLS.
func (r *room) caFile(t *testing.T, dir string) string {
	t.Helper()
	if r.authority == nil {
		return ""
	}
	file := filepath.Join(dir, "ca.pem")
	harness.Must(t, os.WriteFile(file, r.authority.CertPEM(), 0o600))
	return file
}
