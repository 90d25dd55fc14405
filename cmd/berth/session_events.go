package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"berth/internal/httpapi"
	"berth/internal/session"
)

type sessionEventsCmd struct {
	remote
	format
	ID     string `arg:"" name:"session" help:"Session ID."`
	Follow bool   `short:"f" help:"Go on with what happens, until the session is deleted or Ctrl-C."`
}

// Help is shown by berth session events --help.
func (sessionEventsCmd) Help() string {
	return `The latest 25 events, the oldest first: what happened, on whose wish, and why. With --follow each is printed as it happens, as a line of its own; with --output json as one JSON object in a line.

Examples:

    berth session events ses-gezdgnbvgy3tqojq
    berth session events ses-gezdgnbvgy3tqojq --follow --output json`
}

// Run prints what has happened, and with --follow what happens.
func (c *sessionEventsCmd) Run(ctx context.Context, std *stdio, api *client) error {
	if c.Follow {
		return c.follow(ctx, api, std)
	}
	var answer httpapi.Events
	if err := api.call(ctx, http.MethodGet, sessionPath(c.ID, "events"), nil, nil, &answer); err != nil {
		return err
	}
	rows := [][]string{{"TIME", "EVENT", "BY", "REASON"}}
	for _, m := range answer.Events {
		rows = append(rows, cellsOf(m))
	}
	return c.table(std, answer, rows)
}

func cellsOf(m session.Event) []string {
	return []string{m.At.Local().Format(time.DateTime), string(m.Type), m.By, m.Reason}
}

// follow prints events as they come. That it is ended by Ctrl-C is no failure, and neither is the end of the session.
func (c *sessionEventsCmd) follow(ctx context.Context, api *client, std *stdio) error {
	resp, err := api.send(ctx, http.MethodGet, sessionPath(c.ID, "events"), http.Header{"Accept": {"text/event-stream"}}, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	err = eachEvent(resp.Body, func(data string) error {
		if c.Output == "json" {
			_, err := fmt.Fprintln(std.Out, printableJSON(data))
			return err
		}
		var m session.Event
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			return err
		}
		_, err := fmt.Fprintln(std.Out, printable(strings.TrimRight(fmt.Sprintf("%s  %-12s %-8s %s", cellsOf(m)[0], m.Type, m.By, m.Reason), " ")))
		return err
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("read the events of %s: %w", c.ID, err)
	}
	return nil
}

// eachEvent calls f with the data of each event of a stream, as the HTML standard's section on server-sent events
// describes it. What Berth sends has one line of data for each.
func eachEvent(stream io.Reader, f func(data string) error) error {
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if err := f(data); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}
