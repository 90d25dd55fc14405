package browser_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/chromedp/chromedp"

	"berth/internal/waittest"
	"berth/test/chromium"
)

// The attacks. See [attack] for what their scripts return, and tools for the functions that they use.
var attacks = slicesOf(cookieAttacks, forgedRequests, readings, windows, fields)

func slicesOf(parts ...[]attack) (all []attack) {
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

// tossed reports a cookie of A's that B's server got.
func tossed(name string) func(*field) string {
	return func(f *field) string {
		if got := f.cookies(f.atB); strings.Contains(got, name) {
			return "B's server gets " + got
		}
		return ""
	}
}

var cookieAttacks = []attack{
	{
		name:   "cookie for all sessions, by header",
		script: `await fetch(told({header: 'Set-Cookie: wide=1; Path=/; Domain=' + DOMAIN})); return ''`,
		check:  tossed("wide"),
	}, {
		name:   "cookie for all sessions, in an early response",
		script: `await fetch(told({early: 'Set-Cookie: early=1; Path=/; Domain=' + DOMAIN})); return ''`,
		check:  tossed("early"),
	}, {
		name:   "cookie for all sessions, in a trailer",
		script: `await fetch(told({trailer: 'Set-Cookie: late=1; Path=/; Domain=' + DOMAIN})); return ''`,
		check:  tossed("late"),
	}, {
		name:   "cookie with the name of B's sign-in",
		script: `document.cookie = '__Host-berth-' + IDB + '=tossed; Secure; Path=/; Domain=' + DOMAIN; return ''`,
		check:  tossed("tossed"),
	}, {
		name:   "cookie with the name of B's sign-in without its prefix",
		script: `for (const p of ['', '__Secure-', '__host-']) document.cookie = p + 'berth-' + IDB + '=bare; Secure; Path=/; Domain=' + DOMAIN; return ''`,
		check:  tossed("bare"),
	}, {
		name:   "cookie with a longer path, to be sent first",
		script: `for (const path of ['/report', '/']) document.cookie = '__Host-berth-' + IDB + '=first; Secure; Path=' + path + '; Domain=' + DOMAIN; return ''`,
		check:  tossed("first"),
	}, {
		name:   "cookie without a name that looks like B's sign-in",
		script: `document.cookie = '=__Host-berth-' + IDB + '=nameless; Secure; Path=/; Domain=' + DOMAIN; return ''`,
		check:  tossed("nameless"),
	}, {
		name: "own sign-in replaced by the server",
		script: `await fetch(told({header: '__Host-berth-x: y', header: 'Set-Cookie: __Host-berth-' + IDA + '=fixed; Secure; Path=/'}));
			return (await own('/report')).startsWith('200') ? '' : 'A is signed out'`,
	}, {
		name:   "reading the sign-in from a script",
		script: `return document.cookie.includes('__Host-') ? document.cookie : ''`,
	}, {
		name:   "reading the sign-in on the server",
		script: `const seen = await own('/report'); return seen.includes('__Host') ? seen : ''`,
	}, {
		name:   "cookie for Berth's own name",
		script: `document.cookie = 'berth-session=own; Secure; Path=/; Domain=example.test'; return await read(API + '/sessions', {credentials: 'include'})`,
		check:  func(f *field) string { return usable(f.atA) },
	}, {
		name:   "Clear-Site-Data, which is for the whole site",
		script: `await fetch(told({header: 'Clear-Site-Data: "cookies", "storage", "cache"'})); return ''`,
	}, {
		name:   "Clear-Site-Data in an early response",
		script: `await fetch(told({early: 'Clear-Site-Data: "*"'})); return ''`,
	},
}

const (
	asForm      = "'application/x-www-form-urlencoded'"
	asMultipart = "'multipart/form-data'"
)

var forgedRequests = []attack{
	{name: "API: fetch as text/plain", script: `return await read(API + '/sessions', {method: 'POST', body: '{}', credentials: 'include'})`},
	{name: "API: fetch without cors", script: `await fetch(API + '/sessions', {method: 'POST', body: '{}', mode: 'no-cors', credentials: 'include'}).catch(() => 0); return ''`},
	{name: "API: fetch as JSON", script: `return await read(API + '/sessions', {method: 'POST', body: '{}', headers: {'Content-Type': 'application/json'}, credentials: 'include'})`},
	{name: "API: delete", script: `return await read(API + '/sessions/' + IDB, {method: 'DELETE', credentials: 'include'})`},
	{name: "API: with A's own token", script: `return await read(API + '/sessions/' + IDB, {method: 'DELETE', headers: {Authorization: 'Bearer ' + TOKENA}})`},
	{name: "API: form", script: `await submit(API + '/sessions', ` + asForm + `, {owner: 'x'}); return ''`},
	{name: "API: multipart form", script: `await submit(API + '/sessions', ` + asMultipart + `, {owner: 'x'}); return ''`},
	{name: "API: form that is JSON", script: `await submit(API + '/sessions', 'text/plain', {'{"owner":"': '"}'}); return ''`},
	{name: "API: beacon", script: `navigator.sendBeacon(API + '/sessions', '{}'); return ''`},
	{name: "API: stop of B", script: `navigator.sendBeacon(API + '/sessions/' + IDB + '/stop'); await submit(API + '/sessions/' + IDB + '/stop', ` + asForm + `, {}); return ''`},
	{name: "B: fetch as text/plain", script: `return await read(HIT, {method: 'POST', body: '{}', credentials: 'include'})`},
	{name: "B: fetch without cors", script: `await fetch(HIT, {method: 'POST', body: '{}', mode: 'no-cors', credentials: 'include'}).catch(() => 0); return ''`},
	{name: "B: fetch with preflight", script: `return await read(HIT, {method: 'PUT', body: '{}', headers: {'Content-Type': 'application/json'}, credentials: 'include'})`},
	{name: "B: form", script: `await submit(HIT, ` + asForm + `, {x: 'y'}); return ''`},
	{name: "B: multipart form", script: `await submit(HIT, ` + asMultipart + `, {x: 'y'}); return ''`},
	{name: "B: form in a window of its own", script: `await submit(HIT, 'text/plain', {x: 'y'}, '_blank'); return ''`},
	{name: "B: beacon", script: `navigator.sendBeacon(HIT, 'x'); return ''`},
	{name: "B: ping of a link", script: `const a = Object.assign(document.createElement('a'), {href: '#', ping: HIT}); document.body.append(a); a.click(); return ''`},
	{name: "B: keepalive while the page goes", script: `fetch(HIT, {method: 'POST', body: 'x', mode: 'no-cors', keepalive: true, credentials: 'include'}).catch(() => 0); return ''`},
	{
		name: "B: WebSocket",
		script: `const ws = new WebSocket(HIT.replace('https', 'wss'));
			return await within(new Promise(done => { ws.onopen = () => done('open'); ws.onerror = () => done('') }))`,
	},
	{
		name: "B: WebSocket by path",
		script: `const ws = new WebSocket(API.replace('https', 'wss') + '/s/' + IDB + MARK);
			return await within(new Promise(done => { ws.onopen = () => done('open'); ws.onerror = () => done('') }))`,
	},
	{
		name: "A by path: WebSocket on Berth's origin",
		script: `const ws = new WebSocket(API.replace('https', 'wss') + '/s/' + IDA + '/echo?auth_token=' + btoa('x:' + TOKENA));
			return await within(new Promise(done => { ws.onopen = () => done('open'); ws.onerror = () => done('') }))`,
	},
	{name: "sign-out of B", script: `await submit(B + '/.berth/sign-out', ` + asForm + `, {}); await submit(B + '/.berth/sign-out', ` + asForm + `, {}, '_blank'); return ''`},
	{
		name:   "sign-in page of B, which a browser gets that is not signed in",
		script: `const page = B + '/.berth/sign-in'; await element('img', {src: page}); await element('iframe', {src: page}); window.open(page, '_blank', 'noopener'); return ''`,
	},
	{
		name: "sign-in of the browser to B with another secret",
		script: `for (const target of ['', '_blank']) await submit(B + '/.berth/sign-in', ` + asForm + `, {token: TOKENA, code: TOKENA, to: '/'}, target);
			return await read(B + '/.berth/sign-in', {method: 'POST', body: new URLSearchParams({token: TOKENA}), credentials: 'include'})`,
	},
}

var readings = []attack{
	{name: "B: cors with credentials", script: `return await read(HIT, {credentials: 'include'})`},
	{name: "B: fetch without cors, GET", script: `const r = await fetch(HIT, {mode: 'no-cors', credentials: 'include'}).catch(() => 0); return r && r.type !== 'opaque' ? r.type : ''`},
	{name: "B: script", script: `await element('script', {src: HIT + '.js'}); return window.stolen || ''`},
	{name: "B: module", script: `try { await import(HIT + '.js') } catch {} return window.stolen || ''`},
	{name: "B: style sheet", script: `await element('link', {rel: 'stylesheet', href: HIT + '.css'}); return getComputedStyle(document.documentElement).getPropertyValue('--stolen')`},
	{name: "B: image", script: `const i = await element('img', {src: HIT + '.svg'}); return i.naturalWidth ? 'its size is ' + i.naturalWidth : ''`},
	{name: "B: prefetch", script: `await element('link', {rel: 'prefetch', href: HIT}, document.head); return ''`},
	{
		name: "B: event stream",
		script: `const s = new EventSource(HIT, {withCredentials: true});
			return await within(new Promise(done => { s.onmessage = s.onopen = () => done('open'); s.onerror = () => { s.close(); done('') } }))`,
	},
	{name: "B: worker", script: `try { new Worker(HIT + '.js'); return 'started' } catch { return '' }`},
	{
		name: "B: script in a worker of A",
		script: `const w = new Worker(URL.createObjectURL(new Blob(["try { importScripts('" + HIT + ".js'); postMessage(self.stolen || '') } catch { postMessage('') }"])));
			return await within(new Promise(done => w.onmessage = e => done(e.data)))`,
	},
	{name: "B: shared worker", script: `try { new SharedWorker(HIT + '.js'); return 'started' } catch { return '' }`},
	{name: "B: service worker", script: `try { await navigator.serviceWorker.register(HIT + '.js'); return 'registered' } catch { return '' }`},
	{
		name:   "service worker of A for B and for Berth",
		script: `for (const scope of [B + '/', API + '/', API + '/s/']) try { await navigator.serviceWorker.register('/hit/sw.js', {scope}); return scope } catch {} return ''`,
	},
	{
		name: "service worker of A for a path above its own",
		script: `try { await navigator.serviceWorker.register(told({header: ['Content-Type: text/javascript', 'Service-Worker-Allowed: /']}).replace('/respond', '/deep/../respond'), {scope: '/'});
			const all = await navigator.serviceWorker.getRegistrations(); await Promise.all(all.map(r => r.unregister())) } catch {} return ''`,
	},
	{name: "A by path: service worker on Berth's origin", script: `try { await navigator.serviceWorker.register(API + '/s/' + IDA + '/hit/sw.js'); return 'registered' } catch { return '' }`},
	{name: "Berth: cors with credentials", script: `return await read(API + '/sessions', {credentials: 'include'}) + await read(API + '/health', {credentials: 'include'})`},
	{name: "Berth: B by path", script: `return await read(API + '/s/' + IDB + MARK, {credentials: 'include'})`},
	{
		name:   "Berth: A by path, with credentials",
		script: `return await read(API + '/s/' + IDA + '/respond?header=Access-Control-Allow-Credentials:%20true&header=Access-Control-Allow-Origin:%20' + A, {credentials: 'include'})`,
	},
	{
		name:   "B by path on A's origin",
		script: `const seen = await read('/s/' + IDB + '/report'); return seen.includes(MARK) || seen.includes('Hits":[]') ? seen : ''`,
	},
	{name: "storage of B", script: `localStorage.setItem('mark', 'a'); document.cookie = 'mark=a'; return ''`, check: func(f *field) string {
		got, err := chromium.Evaluate(f.atB, `return localStorage.getItem('mark') || document.cookie`)
		if err != nil || strings.Contains(got, "mark") {
			return got
		}
		return ""
	}},
}

var windows = []attack{
	{
		name:   "B in a frame",
		script: `const frame = await element('iframe', {src: HIT}); try { return frame.contentDocument.body.textContent.includes('secret') ? 'read' : '' } catch { return '' }`,
	},
	{name: "B in an object and in an embed", script: `await Promise.all([element('object', {data: HIT, type: 'text/html'}), element('embed', {src: HIT, type: 'text/html'})]); return ''`},
	{
		name:   "Berth in a frame",
		script: `const frame = await element('iframe', {src: API + '/'}); try { return frame.contentDocument.title === 'Berth' ? 'read' : '' } catch { return '' }`,
	},
	{
		name: "B in a window that A holds", navigates: true,
		script: `const w = window.open(HIT); await settled(w, () => w.closed); if (!w.closed) return 'the window is held';
			try { return w.document.body.textContent } catch { return '' }`,
	},
	{
		name: "messages to B", navigates: true,
		script: `const w = window.open(HIT); for (let i = 0; i < 100 && !w.closed; i++) { try { w.postMessage('evil', '*') } catch {} await new Promise(r => setTimeout(r, 50)) }
			return w.closed ? '' : 'the window is held'`,
	},
	{
		name: "B's window led elsewhere, and to a script", navigates: true,
		script: `const w = window.open(HIT); await settled(w, () => w.closed); for (const to of ['javascript:fetch("' + MARK + '",{method:"POST"})', A + '/'])
			try { w.location = to } catch {} return w.closed ? '' : 'the window is held'`,
	},
	{
		name: "Berth's window",
		script: `const w = window.open(API + '/sessions'); const shown = () => { try { return w.document.URL } catch { return '' } };
			await settled(w, () => shown() !== 'about:blank'); try { w.postMessage('evil', '*') } catch {} return shown()`,
	},
	{
		name:   "B's address in the history of A",
		script: `for (const to of [B + '/', API + '/']) try { history.pushState({}, '', to); return 'it is ' + location } catch {} return ''`,
	},
	{
		name:   "document.domain of all",
		script: `try { document.domain = DOMAIN } catch {} const frame = await element('iframe', {src: HIT}); try { return frame.contentDocument.body.textContent.includes('secret') ? 'read' : '' } catch { return '' }`,
	},
	{
		name:   "A by path in a window",
		script: `window.open(API + '/s/' + IDA + '/hit/window'); return ''`,
		check: func(f *field) string {
			at := ""
			waittest.Until(f.T, "the window shows a page", func() error {
				all, err := chromedp.Targets(f.atA)
				for _, one := range all {
					if strings.HasSuffix(one.URL, "/hit/window") && one.Title == "a session" {
						at = one.URL
						return nil
					}
				}
				return errors.Join(err, fmt.Errorf("there are %d windows", len(all)))
			})
			if at != f.a.origin()+"/hit/window" {
				return "it is shown at " + at
			}
			return ""
		},
	},
	{
		name: "A by path in a frame, out of its sandbox",
		script: `const origins = []; onmessage = e => origins.push(e.origin);
			await element('iframe', {src: API + '/s/' + IDA + '/'}); await element('iframe', {src: API + '/s/' + IDA + '/', sandbox: 'allow-scripts allow-same-origin allow-top-navigation'});
			return origins.includes(API) || location.origin !== A ? origins.join() : ''`,
	},
	{
		name: "A by path in a frame, as a document that scripts",
		script: `await element('iframe', {src: API + '/s/' + IDA + '/respond?auth_token=' + btoa('x:' + TOKENA)});
			const direct = await fetch(API + '/s/' + IDA + '/', {mode: 'no-cors'}).catch(() => 0); return direct && direct.type !== 'opaque' ? direct.type : ''`,
		check: func(f *field) string {
			got, err := f.berth.try(http.MethodGet, f.berth.url+"/s/"+f.a.ID+"/", f.a.Token)
			if err != nil || !strings.Contains(strings.Join(got.header.Values("Content-Security-Policy"), ","), "sandbox") {
				return "what Berth's origin shows of A is not in a sandbox"
			}
			return ""
		},
	},
	{name: "credentials in B's address", script: `try { await fetch(HIT.replace('https://', 'https://x:' + TOKENA + '@')); return 'sent' } catch {} await element('img', {src: HIT.replace('https://', 'https://x:' + TOKENA + '@') + '.svg'}); await element('iframe', {src: HIT.replace('https://', 'https://x:' + TOKENA + '@')}); return ''`},
	{name: "A's token in B's address", script: `window.open(HIT + '?auth_token=' + btoa('x:' + TOKENA), '_blank', 'noopener'); return ''`, navigates: true},
}

// field of a response that a browser must not get from A's server.
func absent(name, value string) attack {
	return attack{
		name: name + " of A's server",
		script: `const r = await fetch(told({header: '` + name + `: ` + value + `', early: '` + name + `: ` + value + `', trailer: '` + name + `: ` + value + `'}));
			await r.text(); const got = r.headers.get('` + name + `') || ''; return got.includes('` + value + `') ? got : ''`,
	}
}

var fields = []attack{
	absent("Strict-Transport-Security", "max-age=9; includeSubDomains"),
	absent("Alt-Svc", "h2=evil.example:443"),
	absent("Refresh", "0; url=/hit/refreshed"),
	absent("Service-Worker-Allowed", "/"),
	absent("Access-Control-Allow-Credentials", "true"),
	absent("Report-To", "{}"),
	{
		name:   "redirect loop that ends at B",
		script: `return await read(told({status: 302, header: 'Location: ' + HIT}), {credentials: 'include'}) + await read(told({status: 307, header: 'Location: ' + HIT}), {method: 'POST', credentials: 'include'})`,
	},
	{
		name: "endless redirects",
		script: `const loop = A + '/respond?status=302&header=Location:%20'; let to = A + '/'; for (let i = 0; i < 3; i++) to = loop + encodeURIComponent(to);
			const frame = await element('iframe', {src: told({status: 302, header: 'Location: ' + location.pathname})}); await read(to); return ''`,
	},
	{name: "report of a policy to B", script: `await element('iframe', {src: told({header: "Content-Security-Policy: default-src 'none'; report-uri " + HIT})}); return ''`},
	{name: "preload of B by an early response", script: `await fetch(told({early: 'Link: <' + HIT + '.css>; rel=preload; as=style', header: 'Link: <' + HIT + '.js>; rel=preload; as=script'})); return ''`},
	{name: "link stolen by its referrer", script: `return (await own('/report')).includes('.berth') || document.referrer.includes('.berth') ? 'A knows it: ' + document.referrer : ''`},
	{name: "foreign name that leads here", check: func(f *field) string {
		for _, host := range []string{"evil.test", "evil.example.test", "a." + strings.TrimPrefix(f.b.origin(), "https://")} {
			host, _, _ = strings.Cut(host, ":")
			if got := chromium.Visit(f.atA, f.T, "https://"+host+":"+f.berth.port+"/"); got != http.StatusMisdirectedRequest {
				return host + " is served"
			}
		}
		return ""
	}, script: `return ''`},
}
