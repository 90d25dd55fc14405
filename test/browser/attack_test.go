package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"berth/internal/chromiumtest"
	"berth/internal/waittest"
	"berth/test/chromium"
)

// attack is what a page of session A tries. Requests below HIT, which is B's, are seen by B's server if they are let in.
type attack struct {
	name string
	// script is the body of an async function in a page of A. It returns evidence of its success, "" for none.
	script string
	// navigates says that the whole window is led to B with a GET, as any page on the internet can: B's server sees it, and
	// nobody but B's user what it answers.
	navigates bool
	// check looks for what the page itself cannot see; nil: nothing.
	check func(*field) string
}

// field is where the attacks take place: one browser that is signed in to A and to B.
type field struct {
	*testing.T
	berth *berth
	a, b  room
	atA   context.Context // tab with a page of A
	atB   context.Context // tab with a page of B
}

// tools are functions for the attacks.
const tools = `
const within = (p, ms = 10000) => Promise.race([p, new Promise(r => setTimeout(() => r(''), ms))]);
const read = async (url, o) => { try { const r = await fetch(url, o); return r.type.startsWith('opaque') ? '' : r.status + ' ' + await r.text() } catch { return '' } };
const own = async url => { for (let i = 0; i < 5; i++) { const seen = await read(url); if (seen) return seen } };
const told = o => A + '/respond?' + new URLSearchParams(Object.entries(o).flatMap(([k, v]) => [v].flat().map(x => [k, x])));
const element = (tag, attributes, parent = document.body) => within(new Promise(done => {
  const e = Object.assign(document.createElement(tag), attributes);
  e.onload = e.onerror = event => done(e); parent.append(e);
}));
const submit = async (action, enctype, fields, target) => {
  const frame = document.createElement('iframe'); frame.name = 'f' + Math.random(); document.body.append(frame);
  const f = Object.assign(document.createElement('form'), {action, method: 'POST', enctype, target: target || frame.name});
  for (const [name, value] of Object.entries(fields)) f.append(Object.assign(document.createElement('input'), {name, value}));
  document.body.append(f);
  const answered = within(new Promise(done => frame.onload = done), target ? 0 : 10000);
  f.submit(); await answered;
};
const settled = async (w, seen) => { for (let i = 0; i < 100 && !seen(); i++) await new Promise(r => setTimeout(r, 50)) };
`

// prepare signs a browser in to two sessions.
func prepare(t *testing.T) *field {
	t.Helper()
	chromiumtest.Path(t)
	f := &field{T: t, berth: startBerth(t)}
	f.atA = chromium.Start(t, "127.0.0.1:"+f.berth.port)
	f.a, f.b = f.berth.create(t), f.berth.create(t)
	f.atB = chromium.NewTab(f.atA, t)
	f.signIn(f.atA, f.a)
	f.signIn(f.atB, f.b)
	return f
}

// signIn opens a link and waits until the session's page is shown.
func (f *field) signIn(tab context.Context, r room) {
	f.Helper()
	chromium.Visit(tab, f.T, r.link(f.T))
	waittest.Until(f.T, "the page of the session is shown", func() error {
		got, err := chromium.Evaluate(tab, "return location.origin + ' ' + document.title + ' ' + document.body.innerText")
		switch {
		case err != nil || strings.HasPrefix(got, r.origin()+" a session "):
			return err
		case strings.Contains(got, "ERR_NETWORK_CHANGED"):
			chromium.Visit(tab, f.T, r.link(f.T)) // see chromium.Visit
		}
		return fmt.Errorf("it is %q", got)
	})
}

// run runs a script in a page of A.
func (f *field) run(script string) (string, error) {
	known := fmt.Sprintf("const A=%q,B=%q,API=%q,IDA=%q,IDB=%q,TOKENA=%q,DOMAIN=%q;", f.a.origin(), f.b.origin(), f.berth.url, f.a.ID, f.b.ID, f.a.Token, domain)
	return chromium.Evaluate(f.atA, known+tools+script)
}

// usable returns what is wrong with a page of a session in its own tab; "": nothing.
func usable(tab context.Context) string {
	got, err := chromium.Evaluate(tab, `for (let i = 0; i < 5; i++) try { return '' + (await fetch('/report', {cache: 'no-store'})).status } catch {} return 'nothing'`)
	if err != nil || got != "200" {
		return fmt.Sprintf("its own page gets %s, %v", got, err)
	}
	return ""
}

// cookies are what the session's server gets with a request of its own page.
func (f *field) cookies(tab context.Context) string {
	f.Helper()
	text, err := chromium.Evaluate(tab, `return await (await fetch('/report', {cache: 'no-store'})).text()`)
	var seen report
	if err == nil {
		err = json.Unmarshal([]byte(text), &seen)
	}
	if err != nil {
		f.Fatalf("cookies: %v in %q", err, text)
	}
	return strings.Join(seen.Cookies, "; ")
}

func TestPageOfOneSessionAttacksAnother(t *testing.T) {
	t.Parallel()
	f := prepare(t)
	f.control()
	var visits []string
	for i, a := range attacks {
		mark := fmt.Sprintf("/hit/%d", i)
		got, err := f.run(fmt.Sprintf("const HIT=B+%q, MARK=%q;", mark, mark) + a.script)
		if err != nil {
			t.Errorf("%s: the attack broke: %v", a.name, err)
		}
		if a.check != nil && got == "" {
			got = a.check(f)
		}
		if got != "" {
			t.Errorf("%s: succeeded: %s", a.name, got)
		}
		if fault := usable(f.atB); fault != "" {
			t.Fatalf("%s: B is not usable: %s", a.name, fault)
		}
		if a.navigates {
			visits = append(visits, mark)
		}
		chromium.CloseOthers(t, f.atA, f.atB)
		if chromium.Visit(f.atA, t, f.a.origin()+"/"); usable(f.atA) != "" {
			f.signIn(f.atA, f.a) // some attack itself
		}
	}
	for _, hit := range f.b.report(t).Hits {
		method, path, _ := strings.Cut(hit, " ")
		var n int
		if _, err := fmt.Sscanf(path, "/hit/%d", &n); err != nil || n >= len(attacks) {
			t.Errorf("B's server got %s", hit)
		} else if method != http.MethodGet || !slices.Contains(visits, fmt.Sprintf("/hit/%d", n)) {
			t.Errorf("%s: B's server got %s", attacks[n].name, hit)
		}
	}
	f.unchanged()
	t.Logf("%d attacks", len(attacks))
}

// control shows that the attacks would be seen if they succeeded: what A may do to itself reaches its server.
func (f *field) control() {
	f.Helper()
	control := `navigator.sendBeacon('/hit/beacon', 'x'); await submit(A + '/hit/form', 'text/plain', {x: 'y'});
		await element('script', {src: '/hit/control.js'}); const ws = new WebSocket(A.replace('https', 'wss') + '/echo');
		const back = await within(new Promise(done => { ws.onopen = () => ws.send('hello'); ws.onmessage = e => done(e.data) }));
		return [window.stolen, back, await own('/hit/fetch')].join(' ').slice(0, 16)`
	got, err := f.run(control)
	if got != "secret hello 200" {
		got, err = f.run(control) // the network may have changed
	}
	if err != nil || got != "secret hello 200" {
		f.Fatalf("what A does to itself: got %q, %v", got, err)
	}
	waittest.Until(f.T, "A's server gets what its page sends", func() error {
		hits := f.a.report(f.T).Hits
		for _, want := range []string{"POST /hit/beacon", "POST /hit/form", "GET /hit/control.js", "GET /hit/fetch"} {
			if !slices.Contains(hits, want) {
				return fmt.Errorf("got %q", hits)
			}
		}
		return nil
	})
}

// unchanged checks that no attack has changed anything at the API.
func (f *field) unchanged() {
	f.Helper()
	var list struct {
		Sessions []struct {
			ID     string `json:"session_id"`
			Status string
		}
	}
	f.berth.call(f.T, http.MethodGet, f.berth.url+"/sessions", f.berth.admin, http.StatusOK, &list)
	ids := []string{f.a.ID, f.b.ID}
	for _, s := range list.Sessions {
		if s.Status != "running" || !slices.Contains(ids, s.ID) {
			f.Errorf("session %s is %s", s.ID, s.Status)
		}
	}
	var signIns struct {
		SignIns []json.RawMessage `json:"sign_ins"`
	}
	if f.berth.call(f.T, http.MethodGet, f.berth.url+"/sessions/"+f.b.ID+"/sign-ins", f.berth.admin, http.StatusOK, &signIns); len(list.Sessions) != 2 || len(signIns.SignIns) != 1 {
		f.Errorf("got %d sessions and %d browsers signed in to B, want 2 and 1", len(list.Sessions), len(signIns.SignIns))
	}
}
