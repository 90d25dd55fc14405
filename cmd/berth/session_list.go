package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"berth/internal/httpapi"
)

type sessionListCmd struct {
	remote
	format
	Owner  *string  `help:"Only this owner's." placeholder:"TEXT"`
	Status []string `enum:"creating,running,stopped,error" help:"Only these statuses: ${enum}." placeholder:"STATUS"`
}

// Run lists all sessions, page by page.
func (c *sessionListCmd) Run(ctx context.Context, std *stdio, api *client) error {
	query := url.Values{}
	if c.Owner != nil { // the server rejects an empty owner; it does not mean all owners
		query.Set("owner", *c.Owner)
	}
	if len(c.Status) > 0 {
		query.Set("status", strings.Join(c.Status, ","))
	}
	all, err := pages[httpapi.Session](ctx, api, "/sessions", query)
	if err != nil {
		return err
	}
	rows := [][]string{{"SESSION", "STATUS", "OWNER", "IMAGE", "SIZE", "LAST ACCESSED", "ERROR"}}
	for _, s := range all {
		rows = append(rows, []string{
			string(s.ID), statusOf(s), s.Owner, s.Image, sizeOf(s.Workspace), localTime(&s.LastAccessed), s.LastError,
		})
	}
	return c.table(std, all, rows)
}

// statusOf is a session's status with the operation in progress.
func statusOf(s httpapi.Session) string {
	if s.Operation == nil {
		return string(s.Status)
	}
	return fmt.Sprintf("%s (%s in progress)", s.Status, s.Operation.Kind)
}
