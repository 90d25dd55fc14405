package oidc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"berth/internal/session"
)

// Errors of [Client.Verify].
var (
	ErrNotJWT  = errors.New("not a JSON web token")  // it may be a token of another kind
	ErrInvalid = errors.New("not a token for Berth") // wrapped, with the cause, which holds no part of the signature
	ErrExpired = errors.New("the token has expired") // and is valid otherwise
)

// maxToken is above what fits into a request's header besides.
const maxToken = 16 << 10

// IsJWT reports whether text has the form of a signed JSON web token, which session tokens and the like do not have. It costs
// one pass over the text.
func IsJWT(text string) bool {
	if len(text) > maxToken {
		return false
	}
	parts := 0
	for part := range strings.SplitSeq(text, ".") {
		if parts++; parts > 3 || part == "" || strings.ContainsFunc(part, notBase64URL) {
			return false
		}
	}
	return parts == 3
}

func notBase64URL(r rune) bool {
	return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// Verify returns whom a bearer token of the API was issued for. The error is ErrNotJWT before anything is verified,
// ErrInvalid, ErrExpired, or a CodeIdentityUnavailable failure, which says nothing about the token.
func (c *Client) Verify(ctx context.Context, raw session.Secret) (Identity, error) {
	if !IsJWT(raw.Reveal()) {
		return Identity{}, ErrNotJWT
	}
	audience := c.opts.Audience
	if audience == "" {
		audience = c.opts.ClientID
	}
	found, err := c.verify(ctx, raw, audience)
	if err != nil {
		return Identity{}, err
	}
	if party := found.text("azp"); c.opts.Audience == "" && party != "" && party != c.opts.ClientID {
		return Identity{}, invalid("it was issued to another client")
	}
	return c.identify(found)
}

// verify returns the claims of a token that is valid now for an audience.
func (c *Client) verify(ctx context.Context, raw session.Secret, audience string) (claims, error) {
	if err := checkType(raw.Reveal()); err != nil {
		return nil, err
	}
	p, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	var failure error
	token, err := p.verifier(audience).Verify(withFailure(ctx, &failure), raw.Reveal())
	switch {
	case errors.Is(failure, errNoKeys):
		return nil, unavailable.Because(failure)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrInvalid, describe(err))
	}
	var found claims
	if err := token.Claims(&found); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, describe(err))
	}
	if _, isLogout := found["events"]; isLogout {
		return nil, invalid("it notifies of an event")
	}
	return found, found.checkTimes(c.opts.Now())
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}
