package proxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"

	"berth/internal/origin"
	"berth/internal/outcome"
	"berth/internal/session"
)

// pageData is what a page of Berth's on a session's origin shows.
type pageData struct {
	Code    string // of a link, or a pairing code
	Pairing bool
	To      string // path to go on to
	Problem string
	Retry   bool   // show the way to the sign-in page
	Account string // path where people begin to sign in to the session; empty: nowhere
}

// submitScript sends the form of a link. Without scripts, its button does: programs that only look at a link do not use it up.
const submitScript = `document.forms[0].submit()`

// pagePolicy lets a page do nothing but show itself, run that script and send its form to its own origin.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(submitScript))
	return "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

// referrerPolicy keeps a link's code out of what other pages and the session's server get. With no-referrer a browser would not name
// the origin of a form either, and its sign-in would be refused (Fetch standard, "append a request Origin header").
const referrerPolicy = "strict-origin"

const pageHead = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="` + referrerPolicy + `">
<title>Berth</title>
<style>
:root{color-scheme:light dark}
body{font:1.05rem/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:100vh;margin:0}
main{max-width:26rem;padding:1.5rem}
input,button{font:inherit;width:100%;box-sizing:border-box;padding:.6rem;margin:.4rem 0}
</style>
<main>
`

func page(name, body string) *template.Template {
	return template.Must(template.New(name).Parse(pageHead + body + "</main>\n</html>\n"))
}

var (
	linkPage = page("link", `<h1>Open your session</h1>
<form method="post" action="`+origin.SignIn+`"><input type="hidden" name="{{if .Pairing}}pairing{{else}}code{{end}}" value="{{.Code}}"><button autofocus>Open</button></form>
<script>`+submitScript+`</script>
`)
	signInPage = page("sign-in", `<h1>Sign in to this session</h1>
{{if .Problem}}<p role="alert">{{.Problem}}</p>{{end}}
<form method="post" action="`+origin.SignIn+`">
<input type="hidden" name="to" value="{{.To}}">
<label>The session's token
<input type="password" name="token" autocomplete="current-password" required autofocus></label>
<button>Sign in</button>
</form>
{{if .Account}}<p><a href="{{.Account}}">Sign in with your account</a></p>{{end}}
<p>Or ask whoever gave you this address for a link to sign in with.</p>
`)
	signOutPage = page("sign-out", `<h1>Sign out</h1>
<p>This browser forgets what pages of this session have stored in it. The session keeps running.</p>
<form method="post" action="`+origin.SignOut+`"><button autofocus>Sign out</button></form>
`)
	failurePage = page("failure", `<h1>That did not work</h1>
<p role="alert">{{.Problem}}</p>
{{if .Retry}}<p><a href="`+origin.SignIn+`">Sign in</a></p>{{end}}
`)
)

// showPage answers with a page that needs nothing but [pagePolicy].
func showPage(c *call, status int, t *template.Template, data pageData) error {
	return writePage(c, status, t, pagePolicy, data)
}

// writePage answers with a page under a Content-Security-Policy.
func writePage(c *call, status int, t *template.Template, csp string, data any) error {
	var text bytes.Buffer
	if err := t.Execute(&text, data); err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(text.Len()))
	h.Set("Content-Security-Policy", csp)
	h.Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(status)
	if c.request.Method != http.MethodHead {
		_, _ = c.w.Write(text.Bytes()) // the client has closed the connection
	}
	return nil
}

func statusOf(f *session.Failure) int { return outcome.Of(f.Code).Status }
