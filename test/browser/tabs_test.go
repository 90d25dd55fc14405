package browser_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/test/chromium"
)

const (
	tabCount      = 20
	terminalCount = 10
)

// recorder has a page remember when it got which events, and how often it had to connect. The stream and the terminal are connected
// again when they end, as OpenCode's own interface does.
const recorder = `
window.streams = 0; window.terminals = 0; window.events = ''; window.output = '';
const source = new EventSource('/global/event');
source.onopen = () => window.streams++;
source.onmessage = e => {
  const info = JSON.parse(e.data).payload?.properties?.info;
  if (info?.title) window.events += info.title + ' ' + (Date.now() - info.time.created) + '\n';
};
const connect = id => {
  const socket = window.terminal = new WebSocket(location.origin.replace('http', 'ws') + '/pty/' + id + '/connect');
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => window.terminals++;
  socket.onmessage = e => { if (typeof e.data === 'string') window.output += e.data };
  socket.onclose = () => setTimeout(() => connect(id), 100);
};
`

// tabsStayConnected opens twenty tabs beside one that is signed in. Over HTTP/1.1 a browser opens at most six connections to a host,
// and each tab holds one.
func (r room) tabsStayConnected(first context.Context, t *testing.T) {
	t.Helper()
	var tabs []context.Context
	for i := range tabCount {
		tab := chromium.NewTab(first, t)
		chromium.Visit(tab, t, r.origin()+"/global/health") // a document of the server that is not heavy
		script := recorder
		if i < terminalCount {
			script += fmt.Sprintf("connect(%q);", r.newTerminal(t))
		}
		if _, err := chromium.Evaluate(tab, script+"return ''"); err != nil {
			t.Fatal(err)
		}
		tabs = append(tabs, tab)
	}
	for i, tab := range tabs {
		until(tab, t, "the tab is connected over HTTP/2", fmt.Sprintf(`const protocol = performance.getEntriesByType('navigation')[0].nextHopProtocol;
			return protocol == 'h2' && window.streams == 1 && window.terminals == %d ? 'yes' : protocol + ' ' + window.streams + ' ' + window.terminals`, terminalsOf(i)))
	}
	r.everyTabIsServed(t, tabs)
	ended := r.metric(t, "berth_proxy_streams_total")
	select {
	case <-time.After(time.Minute):
	case <-t.Context().Done():
	}
	r.everyTabIsServed(t, tabs)
	if now := r.metric(t, "berth_proxy_streams_total"); now != ended {
		t.Errorf("%v streams had ended a minute ago and %v now, want the same", ended, now)
	}
	if open := r.metric(t, "berth_proxy_streams"); open < tabCount+terminalCount {
		t.Errorf("%v streams are open, want %d and that of the interface", open, tabCount+terminalCount)
	}
	for i, tab := range tabs {
		want := fmt.Sprint(1, terminalsOf(i))
		if got, err := chromium.Evaluate(tab, `return window.streams + ' ' + window.terminals`); err != nil || got != want {
			t.Errorf("tab %d has connected %s times, %v; want %s", i, got, err, want)
		}
	}
}

func terminalsOf(tab int) int {
	if tab < terminalCount {
		return 1
	}
	return 0
}

// everyTabIsServed expects that an event reaches every tab, and what a terminal's program writes every terminal, within a second.
func (r room) everyTabIsServed(t *testing.T, tabs []context.Context) {
	t.Helper()
	withinASecond(t, func() (time.Duration, error) {
		mark := "mark-" + strconv.FormatInt(time.Now().UnixNano(), 36)
		r.newConversation(t, mark)
		var slowest time.Duration
		for _, tab := range tabs {
			took, err := arrival(tab, t, "window.events", mark)
			if err != nil {
				return 0, err
			}
			slowest = max(slowest, took)
		}
		return slowest, nil
	})
	withinASecond(t, func() (time.Duration, error) {
		var slowest time.Duration
		for i, tab := range tabs[:terminalCount] {
			got, err := chromium.Evaluate(tab, fmt.Sprintf(`const sent = Date.now(); window.output = ''; window.terminal.send('echo said-$((%d+1))\n');
				for (;;) { if (window.output.includes('said-%d')) return '' + (Date.now() - sent); await new Promise(done => setTimeout(done, 5)) }`, i, i+1))
			if err != nil {
				return 0, fmt.Errorf("terminal %d: %w", i, err)
			}
			took, err := time.ParseDuration(got + "ms")
			if err != nil {
				return 0, err
			}
			slowest = max(slowest, took)
		}
		return slowest, nil
	})
}

// arrival waits until a tab has noted a mark, and returns how long after its being sent that was.
func arrival(tab context.Context, t *testing.T, list, mark string) (time.Duration, error) {
	t.Helper()
	until(tab, t, "the event arrives", fmt.Sprintf(`return %s.includes(%q) ? 'yes' : %[1]s`, list, mark))
	noted, err := chromium.Evaluate(tab, "return "+list)
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(noted, mark+" ")
	after, _, _ = strings.Cut(after, "\n")
	return time.ParseDuration(after + "ms")
}

// newConversation makes a conversation in OpenCode, which tells every event stream of it.
func (r room) newConversation(t *testing.T, title string) {
	t.Helper()
	r.post(t, "/session?directory=/workspace", map[string]any{"title": title}, nil)
}

// newTerminal starts a terminal in the workspace and returns its name.
func (r room) newTerminal(t *testing.T) string {
	t.Helper()
	var made struct{ ID string }
	r.post(t, "/pty?directory=/workspace", map[string]any{"command": "/bin/sh", "args": []string{}, "title": "t"}, &made)
	return made.ID
}

// post sends JSON to the session's server, as a program.
func (r room) post(t *testing.T, path string, body, out any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/s/"+r.ID+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.Token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("POST %s: got %s", path, resp.Status)
	}
	if out != nil {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			t.Fatalf("POST %s: %v", path, err)
		}
	}
}

// metric is the value of one of Berth's metrics without labels.
func (b *berth) metric(t *testing.T, name string) float64 {
	t.Helper()
	a, err := b.try(http.MethodGet, b.url+"/metrics", b.admin)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(a.body)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return number
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
