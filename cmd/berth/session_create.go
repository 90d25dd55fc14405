package main

import (
	"context"
	"net/http"

	"berth/internal/httpapi"
)

type sessionCreateCmd struct {
	remote
	format
	Owner          string            `help:"Owner of the session: any text." placeholder:"TEXT"`
	Profile        string            `help:"Image profile. Default: the server's." placeholder:"NAME"`
	Image          string            `help:"Image. Default: the profile's." placeholder:"REFERENCE"`
	Metadata       map[string]string `help:"Your own labels, kept with the session." placeholder:"KEY=VALUE"`
	IdempotencyKey string            `help:"Repeating the command with the same key returns the same session." placeholder:"KEY"`
	NoWait         bool              `help:"Do not wait until the session is running."`
}

// Run creates a session.
func (c *sessionCreateCmd) Run(ctx context.Context, std *stdio, api *client) error {
	header := http.Header{}
	if c.NoWait {
		header.Set("Prefer", "respond-async")
	} else {
		std.progress("creating a session; its server takes some seconds to start")
	}
	if c.IdempotencyKey != "" {
		header.Set("Idempotency-Key", c.IdempotencyKey)
	}
	var made httpapi.NewSession
	err := api.call(ctx, http.MethodPost, "/sessions", header, map[string]any{
		"owner": c.Owner, "profile": c.Profile, "image": c.Image, "metadata": c.Metadata,
	}, &made)
	if err != nil {
		return err
	}
	fields := [][2]string{
		{"session", string(made.ID)},
		{"status", string(made.Status)},
		{"address", pathAddress(made.Session, api)},
	}
	fields = append(fields, addressesOf(made.Session, api)...)
	return c.print(std, made, append(fields, [2]string{"token", made.Token}))
}
