package browser_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"berth/internal/waittest"
	"berth/test/chromium"
)

// A page can set cookies for all sessions of a domain, more than a request may have or OpenCode accepts. B's user does not notice,
// or is shown a page that removes them, and remains signed in.
func TestCookieBombIsDefusedAndTheBrowserRemainsSignedIn(t *testing.T) {
	t.Parallel()
	f := prepare(t)
	for _, c := range []struct {
		name       string
		cookies    int    // of 4000 bytes
		attributes string // of each
		refused    bool
	}{
		{"more than OpenCode accepts", 8, "", false},
		{"more than Berth accepts", 40, "", true},
		{"for B's page alone", 40, "; Path=/deep/page", true},
		{"with a partition, at most 10 KiB", 40, "; Partitioned", false},
		{"for the site, beside Berth's own", 40, "; Domain=example.test", true},
		{"as many as a browser stores", 180, "", true},
	} {
		const page = "/deep/page"
		if _, err := f.run(fmt.Sprintf(`for (let i = 0; i < %d; i++) document.cookie = 'bomb' + i + '=' + 'x'.repeat(4000) + '; Secure; Path=/; Domain=' + DOMAIN + %q; await cookieStore.getAll(); return document.cookie.length < 0 ? 'x' : ''`, c.cookies, c.attributes)); err != nil {
			t.Fatal(err)
		}
		if status := chromium.Visit(f.atB, t, f.b.origin()+page); (status == http.StatusRequestHeaderFieldsTooLarge) != c.refused {
			t.Errorf("%s: got status %d, want it refused: %v", c.name, status, c.refused)
		}
		if c.refused {
			// The page is left before the script has returned, or after.
			_, _ = chromium.Evaluate(f.atB, "document.querySelector('a').click(); return ''")
		}
		waittest.Until(t, c.name+": the page of B is shown", func() error {
			got, err := chromium.Evaluate(f.atB, "return document.title")
			if err == nil && got != "a session" {
				err = fmt.Errorf("it is %q", got)
			}
			return err
		})
		if fault := usable(f.atB); fault != "" {
			t.Errorf("%s: %s", c.name, fault)
		}
		// Ten seconds later, and without what a repair has left.
		if _, err := chromedp.Call(f.atB, network.DeleteCookies, network.DeleteCookiesParams{Name: "__Host-berth_repair", URL: f.b.origin()}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.run(`for (const c of document.cookie.split('; ')) for (const d of ['', '; Domain=' + DOMAIN, '; Domain=example.test']) document.cookie = c.split('=')[0] + '=; Path=/; Max-Age=0' + d; return ''`); err != nil {
			t.Fatal(err)
		}
	}
	f.unchanged()
}
