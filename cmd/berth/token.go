package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"berth/internal/httpapi"
)

type tokenCmd struct {
	Create tokenCreateCmd `cmd:"" help:"Create a token for a program and show its secret once."`
	List   tokenListCmd   `cmd:"" aliases:"ls" help:"List the tokens for programs."`
	Revoke tokenRevokeCmd `cmd:"" aliases:"rm" help:"Revoke tokens for programs; their streams end."`
}

type tokenCreateCmd struct {
	remote
	format
	Name    string        `arg:"" help:"Name of the token in lists and in the audit trail."`
	Scope   []string      `required:"" enum:"sessions:create,sessions:read,sessions:write,sessions:delete,sessions:open,metrics,audit" help:"What the token is for, once or more: ${enum}." placeholder:"SCOPE"`
	Owner   string        `help:"Bind the token to this owner: it creates, lists and reaches the owner's sessions only." placeholder:"TEXT"`
	Expires time.Duration `help:"Time until it expires, like 720h. Default: it does not." placeholder:"TIME"`
}

// Help is shown by berth token create --help.
func (tokenCreateCmd) Help() string {
	return `A program sends the secret where the admin token is accepted: in Authorization: Bearer, or to these commands in the file of
--token-file or in BERTH_ADMIN_TOKEN. It does not open sessions; each has a token of its own, which their creator gets, and which
sessions:open can rotate.

Examples:

    berth token create platform --scope sessions:create --scope sessions:read --scope sessions:delete
    berth token create prometheus --scope metrics --expires 8760h
    berth token create alices-laptop --owner alice --scope sessions:create,sessions:read,sessions:open --output json`
}

// Run creates a token.
func (c *tokenCreateCmd) Run(ctx context.Context, std *stdio, api *client) error {
	body := map[string]any{"name": c.Name, "scopes": c.Scope}
	if c.Owner != "" {
		body["owner"] = c.Owner
	}
	if c.Expires != 0 {
		body["expires_in"] = c.Expires.String()
	}
	var made httpapi.NewPlatformToken
	if err := api.call(ctx, http.MethodPost, "/tokens", nil, body, &made); err != nil {
		return err
	}
	fields := [][2]string{{"id", string(made.ID)}, {"name", made.Name}, {"scopes", strings.Join(made.Scopes, " ")}}
	if made.Owner != "" {
		fields = append(fields, [2]string{"owner", made.Owner})
	}
	if made.ExpiresAt != nil {
		fields = append(fields, [2]string{"expires", localTime(made.ExpiresAt)})
	}
	return c.print(std, made, append(fields, [2]string{"token", made.Token}))
}

type tokenListCmd struct {
	remote
	format
}

// Help is shown by berth token list --help.
func (tokenListCmd) Help() string {
	return `Expired tokens are listed for a week.

Examples:

    berth token list
    berth token list --output json`
}

// Run lists all tokens.
func (c *tokenListCmd) Run(ctx context.Context, std *stdio, api *client) error {
	var all struct {
		Tokens []httpapi.PlatformToken `json:"tokens"`
	}
	if err := api.call(ctx, http.MethodGet, "/tokens", nil, nil, &all); err != nil {
		return err
	}
	rows := [][]string{{"ID", "NAME", "SCOPES", "OWNER", "CREATED", "LAST USED", "EXPIRES"}}
	for _, t := range all.Tokens {
		rows = append(rows, []string{
			string(t.ID), t.Name, strings.Join(t.Scopes, " "), t.Owner, localTime(&t.CreatedAt), localTime(t.LastUsedAt), localTime(t.ExpiresAt),
		})
	}
	return c.table(std, all.Tokens, rows)
}

type tokenRevokeCmd struct {
	remote
	IDs []string `arg:"" name:"id" help:"IDs of the tokens; berth token list shows them."`
}

// Help is shown by berth token revoke --help.
func (tokenRevokeCmd) Help() string {
	return `Requests with a revoked token are refused at once, by every instance within about a second. Sessions that were created with it stay.

Examples:

    berth token revoke tok-gezdgnbvgy3tqojq`
}

// Run revokes each token. It continues past failures and returns the first.
func (c *tokenRevokeCmd) Run(ctx context.Context, std *stdio, api *client) error {
	var first error
	for _, id := range c.IDs {
		err := api.call(ctx, http.MethodDelete, "/tokens/"+url.PathEscape(id), nil, nil, nil)
		switch {
		case err == nil:
			fmt.Fprintf(std.Out, "%s is revoked\n", printable(id))
		case first == nil:
			first = err
		default:
			fmt.Fprintf(std.Err, "berth: %s\n", printable(fmt.Sprintf("%s: %v", id, err)))
		}
	}
	return first
}
