package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"berth/internal/chromiumtest"
	"berth/test/chromium"
	"berth/test/harness"
)

// landing is the address that a session's own origin leads a browser to: OpenCode begins a conversation in /workspace there.
const landing = "/L3dvcmtzcGFjZQ/session"

// patience is how long a step of a browser may take on a machine that is busy with other tests.
const patience = 2 * time.Minute

// soon is how soon the end of a grant and an event must reach a browser.
const soon = time.Second

// until waits until the body of a script's function returns the text "yes", and fails with what it returns instead.
func until(tab context.Context, t *testing.T, what, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, patience)
	defer cancel()
	for {
		got, err := chromium.Evaluate(ctx, body) // fails while the page is replaced by another one
		if err == nil && got == "yes" {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("not within %s: %s; the page: %q %v", patience, what, got, err)
		}
	}
}

// shows waits until a page shows a text.
func shows(tab context.Context, t *testing.T, text string) {
	t.Helper()
	until(tab, t, fmt.Sprintf("the page shows %q", text), fmt.Sprintf(`return document.body.innerText.includes(%q) ? 'yes' : location.href.split('#')[0] + ' ' + document.body.innerText`, text))
}

// typed sends the keys of a text, and then the one that sends it.
func typed(tab context.Context, t *testing.T, text string) {
	t.Helper()
	if err := chromedp.Do(tab, chromedp.KeyEvent(text), chromedp.KeyEvent("\r")); err != nil {
		t.Fatal(err)
	}
}

// openUI opens a link, which leads to OpenCode's own interface.
func (r room) openUI(tab context.Context, t *testing.T) {
	t.Helper()
	chromium.Visit(tab, t, r.link(t))
	r.awaitUI(tab, t)
}

// awaitUI waits until a prompt can be typed in a tab.
func (r room) awaitUI(tab context.Context, t *testing.T) {
	t.Helper()
	until(tab, t, "OpenCode's interface asks for a prompt", `const box = document.querySelector('[contenteditable=true]');
		if (location.origin != '`+r.origin()+`' || !box || !document.body.innerText.includes('Model One')) return location.href.split('#')[0] + ' ' + document.body.innerText;
		box.focus(); return 'yes'`)
}

// file is the text of a file in the session's workspace.
func (r room) file(t *testing.T, name string) string {
	t.Helper()
	var file struct{ Content string }
	r.call(t, http.MethodGet, r.url+"/s/"+r.ID+"/file/content?directory=/workspace&path="+name, r.Token, http.StatusOK, &file)
	return file.Content
}

// rotate gives the session another token.
func (r *room) rotate(t *testing.T) {
	t.Helper()
	r.call(t, http.MethodPost, r.url+"/sessions/"+r.ID+"/auth/rotate", r.admin, http.StatusOK, r)
}

// drawn has a page remember what it draws on canvases, which is how the interface's terminal shows text.
const drawn = `window.drawn = ''; { const draw = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) { window.drawn += text; return draw.call(this, text, ...rest) } }`

// One real session does all of this, because OpenCode takes seconds and gigabytes to start.
func TestPersonUsesOpenCodeInBrowser(t *testing.T) {
	t.Parallel()
	chromiumtest.Path(t)
	b := startOpenCode(t)
	r := b.create(t)
	tab := chromium.Start(t, "127.0.0.1:"+b.port)
	seen := watchNetwork(tab, t)
	r.openUI(tab, t)

	t.Run("a link leads to a new conversation in the workspace", func(t *testing.T) {
		got, err := chromium.Evaluate(tab, `const drafts = JSON.parse(localStorage['opencode.window.browser.dat:tabs']);
			return JSON.stringify([new URL(performance.getEntriesByType('navigation')[0].name).pathname, drafts.map(d => d.directory)])`)
		if want := `["` + landing + `",["/workspace"]]`; err != nil || got != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	})
	t.Run("assets are compressed, and kept", func(t *testing.T) { r.assetsAreKept(tab, t, seen) })
	t.Run("a prompt runs a command in the workspace and its answer is shown", func(t *testing.T) {
		typed(tab, t, harness.ModelRuns+`echo "made by $(id -u) in $PWD" | tee made.txt`)
		const made = "made by 10001 in /workspace"
		shows(tab, t, harness.ModelAnswers+made)
		if got := r.file(t, "made.txt"); strings.TrimSpace(got) != made {
			t.Errorf("the file has %q, want %q", got, made)
		}
	})
	t.Run("the terminal echoes", func(t *testing.T) {
		if _, err := chromium.Evaluate(tab, drawn+"return ''"); err != nil {
			t.Fatal(err)
		}
		until(tab, t, "the terminal is shown", `const terminal = document.querySelector('[data-component=terminal]');
			if (terminal?.querySelector('canvas') && window.drawn.includes('workspace')) { terminal.focus(); return document.activeElement === terminal || terminal.contains(document.activeElement) ? 'yes' : 'no focus' }
			if (!window.asked) { window.asked = true; document.dispatchEvent(new KeyboardEvent('keydown', {key: '`+"`"+`', code: 'Backquote', ctrlKey: true, bubbles: true, cancelable: true})) }
			return window.drawn`)
		typed(tab, t, "echo typed-$((6*7))")
		until(tab, t, "the command is echoed, and what it says is shown", `return window.drawn.includes('echo typed-$((6*7))') && window.drawn.includes('typed-42') ? 'yes' : window.drawn`)
	})
	t.Run("twenty tabs and ten terminals stay connected", func(t *testing.T) { r.tabsStayConnected(tab, t) })
	t.Run("a rotation of the token signs the browser out, and a link signs it in again", func(t *testing.T) { r.rotationSignsOut(tab, t) })
}

// rotationSignsOut is tried again where the end of the streams is late: other tests may have kept this machine busy.
func (r *room) rotationSignsOut(tab context.Context, t *testing.T) {
	t.Helper()
	withinASecond(t, func() (time.Duration, error) {
		_, err := chromium.Evaluate(tab, `window.ended = 0; const reader = (await fetch('/global/event')).body.getReader(); await reader.read();
			(async () => { try { while (!(await reader.read()).done); } catch {} window.ended = Date.now() })(); return ''`)
		if err != nil {
			return 0, err
		}
		r.rotate(t)
		answered := time.Now()
		until(tab, t, "the browser's event stream has ended", `return window.ended ? 'yes' : 'open'`)
		ended, err := chromium.Evaluate(tab, `return JSON.stringify(window.ended)`)
		if err != nil {
			return 0, err
		}
		var at int64
		if err := json.Unmarshal([]byte(ended), &at); err != nil {
			return 0, err
		}
		if status := chromium.Visit(tab, t, r.origin()+"/"); status != http.StatusUnauthorized {
			t.Errorf("the next page came with %d, want 401", status)
		}
		shows(tab, t, "Sign in to this session")
		r.openUI(tab, t)
		shows(tab, t, "A conversation") // the model's title, on the tab of the conversation
		return time.UnixMilli(at).Sub(answered), nil
	})
}

// withinASecond tries up to three times for what must happen within a second. Only other tests, which keep this machine's processors
// busy, may make it take longer.
func withinASecond(t *testing.T, try func() (time.Duration, error)) {
	t.Helper()
	var took []time.Duration
	for range 3 {
		d, err := try()
		if err != nil {
			t.Fatal(err)
		}
		if took = append(took, d); d <= soon {
			t.Logf("took %v", took)
			return
		}
	}
	t.Errorf("took %v, want at most %s once", took, soon)
}
