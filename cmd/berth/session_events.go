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
	Follow bool   `short:"f" help:"Print new events until the session is deleted or Ctrl-C."`
}

// Help is shown by berth session events --help.
func (sessionEventsCmd) Help() string {
	return `Shows the latest 25 events with actor and reason, the oldest first. With --follow, new events are printed as they occur, one per line; with --output json each line is one JSON object.

Examples:

    berth session events ses-gezdgnbvgy3tqojq
    berth session events ses-gezdgnbvgy3tqojq --follow --output json`
}

// Run prints the latest events, or with --follow the stream of events.
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

// follow prints events as they occur. Neither Ctrl-C nor the end of the session is a failure.
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

// eachEvent calls f with the data of each server-sent event of a stream. Berth sends one line of data per event.
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
