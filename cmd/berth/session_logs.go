package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

type sessionLogsCmd struct {
	remote
	ID     string `arg:"" name:"session" help:"Session ID."`
	Follow bool   `short:"f" help:"Print new lines until the container stops."`
	Tail   int    `short:"n" help:"Number of lines from the end to print." placeholder:"LINES"`
	Raw    bool   `help:"Do not escape control characters on a terminal. Without a terminal they never are."`
}

// Help is shown by berth session logs --help.
func (sessionLogsCmd) Help() string {
	return `The log of a session's server contains text from the session's user. On a terminal, control characters and characters that
change the text direction are shown as escapes, such as \x1b; to a file or a pipe they are written unchanged.

Examples:

    berth session logs ses-gezdgnbvgy3tqojq --follow
    berth session logs ses-gezdgnbvgy3tqojq > server.log`
}

// Run copies the logs to standard output.
func (c *sessionLogsCmd) Run(ctx context.Context, std *stdio, api *client) error {
	query := url.Values{"follow": {strconv.FormatBool(c.Follow)}, "tail": {strconv.Itoa(c.Tail)}}
	resp, err := api.send(ctx, http.MethodGet, sessionPath(c.ID, "logs")+"?"+query.Encode(), nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out := std.terminalSafe()
	if c.Raw {
		out = std.Out
	}
	_, err = io.Copy(out, resp.Body)
	if rest, ok := out.(*terminalWriter); ok && err == nil {
		err = rest.flush()
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("read the logs of %s: %w", c.ID, err)
	}
	return nil
}
