package attach_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"berth/test/chromium"
)

// page waits until a script in the browser's page returns a text that is wanted, and opens the page again where Chromium has given
// it up because other tests changed this machine's network interfaces.
func (d *door) page(open func(), script string, wanted func(string) bool) error {
	open()
	var got string
	for deadline := time.Now().Add(turn); time.Now().Before(deadline); <-time.After(100 * time.Millisecond) {
		var err error
		if got, err = chromium.Evaluate(d.tab, script); err != nil {
			continue // the page is on its way to another one
		}
		if wanted(got) {
			return nil
		}
		if strings.Contains(got, "ERR_NETWORK_CHANGED") {
			open()
		}
	}
	return fmt.Errorf("the page shows %.500q", got)
}

// webInterface opens a link in the browser, and waits for the prompt of a new conversation.
func webInterface(d *door) (string, error) {
	const script = `const prompt = document.querySelector('[contenteditable=true]');
		return [location.origin, prompt ? 'prompt' : '', document.body.innerText].join(' ')`
	if d.By == "path" {
		err := d.page(func() { chromium.Visit(d.tab, d.T, d.URL) }, script, func(got string) bool {
			return strings.HasPrefix(got, "http://"+d.ID+".localhost:")
		})
		return "redirected to one of its own", err
	}
	return works, d.page(func() { chromium.Visit(d.tab, d.T, d.link()) }, script, func(got string) bool {
		return strings.HasPrefix(got, d.origin()+" prompt ") && strings.Contains(got, "Model One")
	})
}

// leave closes what pages of the session have open.
func (d *door) leave() { chromium.Visit(d.tab, d.T, "about:blank") }

// webTerminal does what the page of a terminal does: it asks for a ticket, and opens a WebSocket.
func webTerminal(d *door) (string, error) {
	defer d.leave()
	if d.By == "path" {
		return "has no page there", nil
	}
	script := `
		const post = async (path, more) => (await fetch(path, {method: 'POST', ...more})).json();
		const made = await post('/pty', {headers: {'Content-Type': 'application/json'}, body: '{"command":"/bin/bash","args":["--norc"],"title":"t"}'});
		const {ticket} = await post('/pty/' + made.id + '/connect-token', {headers: {'x-opencode-ticket': '1'}});
		const socket = new WebSocket(location.origin.replace('http', 'ws') + '/pty/' + made.id + '/connect?ticket=' + ticket);
		let seen = '';
		return await new Promise(done => {
			setTimeout(() => done('timed out: ' + seen), 30000);
			socket.onerror = () => done('refused');
			socket.onopen = () => socket.send('echo echoed-$((6*7)); exit\n');
			socket.onmessage = e => { if (typeof e.data == 'string') seen += e.data; if (seen.includes('echoed-42')) done('echoed') };
		})`
	got, err := chromium.Evaluate(d.tab, script)
	for range 9 {
		if err == nil && got == "echoed" {
			break
		}
		got, err = chromium.Evaluate(d.tab, script) // see page
	}
	if err != nil || got != "echoed" {
		return "", errors.Join(err, fmt.Errorf("the terminal: %q", got))
	}
	return works, nil
}
