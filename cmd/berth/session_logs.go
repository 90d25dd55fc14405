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
	Follow bool   `short:"f" help:"Go on until the container stops."`
	Tail   int    `short:"n" help:"Only the last so many lines." placeholder:"LINES"`
	Raw    bool   `help:"Pass everything on as it is, to a terminal too. Default: only where the output is no terminal."`
}

// Help is shown by berth session logs --help.
func (sessionLogsCmd) Help() string {
	return `What a session's server writes is the text of whoever uses the session. On a terminal everything in it that would command the
terminal, or change the order in which it is read, is shown as an escape, such as \x1b; to a file or a pipe it goes as it is.

Examples:

    berth session logs ses-gezdgnbvgy3tqojq --follow
    berth session logs ses-gezdgnbvgy3tqojq > server.log`
}

// Run copies the logs as they come.
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
