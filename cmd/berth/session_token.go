package main

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"berth/internal/httpapi"
)

type sessionAuthCmd struct {
	remote
	format
	ID string `arg:"" optional:"" name:"session" help:"Session ID. Default: all sessions with a valid token."`
}

// Run shows the expiry of one session's token, or of all that are valid, page by page.
func (c *sessionAuthCmd) Run(ctx context.Context, std *stdio, api *client) error {
	if c.ID != "" {
		var auth httpapi.Auth
		if err := api.call(ctx, http.MethodGet, sessionPath(c.ID, "auth"), nil, nil, &auth); err != nil {
			return err
		}
		return c.print(std, auth, authFields(auth))
	}
	all, err := pages[httpapi.Auth](ctx, api, "/auth/sessions", url.Values{})
	if err != nil {
		return err
	}
	rows := [][]string{{"SESSION", "ROTATED", "EXPIRES", "OLD ONE ENDS"}}
	for _, auth := range all {
		rows = append(rows, []string{string(auth.ID), localTime(&auth.RotatedAt), localTime(auth.ExpiresAt), localTime(auth.PreviousExpiresAt)})
	}
	return c.table(std, all, rows)
}

func authFields(auth httpapi.Auth) [][2]string {
	valid := "no"
	if auth.Valid {
		valid = "yes"
	}
	return [][2]string{
		{"session", string(auth.ID)},
		{"valid", valid},
		{"rotated", localTime(&auth.RotatedAt)},
		{"expires", localTime(auth.ExpiresAt)},
		{"old one ends", localTime(auth.PreviousExpiresAt)},
	}
}

// localTime is a time in the local zone as text; "" when there is none.
func localTime(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

type sessionRotateCmd struct {
	remote
	format
	ID    string        `arg:"" name:"session" help:"Session ID."`
	Grace time.Duration `help:"Accept the old token for this long, up to 10m." placeholder:"TIME"`
}

// Help is shown by berth session rotate --help.
func (sessionRotateCmd) Help() string {
	return `Shows the new token once. Requests and streams with the old token end when it becomes invalid.

Examples:

    berth session rotate ses-gezdgnbvgy3tqojq
    berth session rotate ses-gezdgnbvgy3tqojq --grace 30s`
}

// Run issues a new token.
func (c *sessionRotateCmd) Run(ctx context.Context, std *stdio, api *client) error {
	path := sessionPath(c.ID, "auth", "rotate")
	if c.Grace != 0 {
		path += "?" + url.Values{"grace": {c.Grace.String()}}.Encode()
	}
	var made httpapi.NewToken
	if err := api.call(ctx, http.MethodPost, path, nil, nil, &made); err != nil {
		return err
	}
	fields := [][2]string{{"session", string(made.ID)}, {"token", made.Token}}
	if made.PreviousExpiresAt != nil {
		fields = append(fields, [2]string{"old one ends", localTime(made.PreviousExpiresAt)})
	}
	return c.print(std, made, fields)
}
