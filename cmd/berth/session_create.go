package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"strings"

	"berth/internal/httpapi"
)

type sessionCreateCmd struct {
	remote
	format
	Owner          string            `help:"Owner of the session: any text." placeholder:"TEXT"`
	Profile        string            `help:"Image profile. Default: the server's." placeholder:"NAME"`
	Image          string            `help:"Image. Default: the profile's." placeholder:"REFERENCE"`
	Memory         string            `help:"Memory limit, like 2g. Default: the profile's." placeholder:"SIZE"`
	CPUs           float64           `name:"cpus" help:"Limit of processor time, like 1.5." placeholder:"N"`
	PIDs           int64             `name:"pids" help:"Limit of processes and threads." placeholder:"N"`
	Env            map[string]string `help:"Environment variable of the server; see also --env-file for secrets." placeholder:"NAME=VALUE" mapsep:"none"`
	EnvFile        string            `help:"File with more variables, NAME=VALUE a line; - reads standard input." placeholder:"FILE"`
	Repository     string            `help:"Git repository to clone into the workspace." placeholder:"URL"`
	Ref            string            `help:"Branch, tag or commit of it. Default: its default branch." placeholder:"NAME"`
	Egress         string            `help:"What the session reaches of the outside: none, listed or open; not more than its profile." placeholder:"MODE"`
	EgressAllow    []string          `help:"List or rule of egress listed, within the profile's. Repeatable." placeholder:"RULE" sep:"none"`
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
	body, err := c.body(std)
	if err != nil {
		return err
	}
	var made httpapi.NewSession
	err = api.call(ctx, http.MethodPost, "/sessions", header, body, &made)
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

// body is the request, without what is not asked for.
func (c *sessionCreateCmd) body(std *stdio) (map[string]any, error) {
	env, err := c.variables(std.In)
	if err != nil {
		return nil, err
	}
	body := map[string]any{
		"owner": c.Owner, "profile": c.Profile, "image": c.Image, "metadata": c.Metadata, "memory": c.Memory, "cpus": c.CPUs, "pids": c.PIDs,
		"env": env, "repository": c.Repository, "ref": c.Ref, "egress": c.Egress, "egress_allow": c.EgressAllow,
	}
	maps.DeleteFunc(body, func(_ string, value any) bool { return reflect.ValueOf(value).IsZero() })
	return body, nil
}

// variables are those of the file and of the flags, which take precedence. Empty lines of the file and lines that begin with # are
// skipped.
func (c *sessionCreateCmd) variables(in io.Reader) (map[string]string, error) {
	if c.EnvFile == "" {
		return c.Env, nil
	}
	text, err := readSource(c.EnvFile, in)
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok { // the line may be a secret: it is not shown
			return nil, fmt.Errorf("%s, line %d: want NAME=VALUE", c.EnvFile, n)
		}
		env[name] = value
	}
	maps.Copy(env, c.Env)
	return env, nil
}
