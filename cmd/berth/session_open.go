package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"runtime"
	"strings"

	"rsc.io/qr"

	"berth/internal/httpapi"
)

type sessionOpenCmd struct {
	remote
	format
	ID      string `arg:"" name:"session" help:"Session ID."`
	Browser bool   `help:"Open the link in this machine's browser instead of printing it."`
	QR      bool   `name:"qr" help:"Print the link as a QR code too, for a phone."`
}

// Help is shown by berth session open --help.
func (sessionOpenCmd) Help() string {
	return `The link signs one browser in, once, within a minute. The session's token is not part of it.

Examples:

    berth session open ses-gezdgnbvgy3tqojq
    berth session open ses-gezdgnbvgy3tqojq --browser
    berth session open ses-gezdgnbvgy3tqojq --qr`
}

// Run makes a link.
func (c *sessionOpenCmd) Run(ctx context.Context, std *stdio, api *client) error {
	var made httpapi.SignInLink
	if err := api.call(ctx, http.MethodPost, sessionPath(c.ID, "links"), nil, nil, &made); err != nil {
		return err
	}
	link := made.Links[0].URL
	if c.Browser {
		for _, at := range made.Links {
			if at.By == "localhost" { // this machine's browser resolves it, whatever DNS says
				link = at.URL
			}
		}
		return openBrowser(ctx, link)
	}
	var fields [][2]string
	for _, at := range made.Links {
		fields = append(fields, [2]string{"link", at.URL})
	}
	fields = append(fields, [2]string{"works until", localTime(&made.ExpiresAt) + ", once"})
	if err := c.print(std, made, fields); err != nil || !c.QR || c.Output == "json" {
		return err
	}
	picture, err := drawQR(link)
	if err == nil {
		_, err = fmt.Fprint(std.Out, picture)
	}
	return err
}

// openBrowser opens a link. It stands in the process list of this machine until the browser has it: the link works once.
func openBrowser(ctx context.Context, link string) error {
	opener := "xdg-open"
	if runtime.GOOS == "darwin" {
		opener = "open"
	}
	if out, err := exec.CommandContext(ctx, opener, link).CombinedOutput(); err != nil {
		return fmt.Errorf("open a browser with %s (leave --browser out to have the link printed): %w: %s", opener, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// drawQR draws a text as a QR code in half blocks, two rows of it to a line, dark on light with its quiet zone.
func drawQR(text string) (string, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return "", fmt.Errorf("draw the QR code: %w", err)
	}
	const quiet = 2
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString("\x1b[30;47m")
		for x := -quiet; x < code.Size+quiet; x++ {
			b.WriteString([]string{" ", "▄", "▀", "█"}[2*bit(code.Black(x, y))+bit(code.Black(x, y+1))])
		}
		b.WriteString("\x1b[0m\n")
	}
	return b.String(), nil
}

func bit(set bool) int {
	if set {
		return 1
	}
	return 0
}

type sessionSignInsCmd struct {
	remote
	format
	ID  string `arg:"" name:"session" help:"Session ID."`
	End string `help:"Sign this browser or device out." placeholder:"SIGN-IN"`
}

// Help is shown by berth session sign-ins --help.
func (sessionSignInsCmd) Help() string {
	return `Examples:

    berth session sign-ins ses-gezdgnbvgy3tqojq
    berth session sign-ins ses-gezdgnbvgy3tqojq --end in-0123456789abcdef`
}

// Run lists the sign-ins, or ends one.
func (c *sessionSignInsCmd) Run(ctx context.Context, std *stdio, api *client) error {
	if c.End != "" {
		return api.call(ctx, http.MethodDelete, sessionPath(c.ID, "sign-ins", url.PathEscape(c.End)), nil, nil, nil)
	}
	var list struct {
		SignIns []httpapi.SessionSignIn `json:"sign_ins"`
	}
	if err := api.call(ctx, http.MethodGet, sessionPath(c.ID, "sign-ins"), nil, nil, &list); err != nil {
		return err
	}
	rows := [][]string{{"SIGN-IN", "KIND", "SINCE", "UNTIL", "NAME"}}
	for _, in := range list.SignIns {
		rows = append(rows, []string{in.ID, in.Kind, localTime(&in.At), localTime(&in.ExpiresAt), in.Browser})
	}
	return c.table(std, list.SignIns, rows)
}
