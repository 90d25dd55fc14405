package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"berth/internal/access"
	"berth/internal/httpapi"
	"berth/internal/oidc"
	"berth/internal/pki"
	"berth/internal/session"
)

// people are those whom the identity provider vouches for, as principals.
type people struct {
	provider *oidc.Client
	log      *slog.Logger
}

// openPeople makes the client of the identity provider, if there is one. The provider may be unavailable now.
func (a *App) openPeople() error {
	o := a.cfg.OIDC
	if !o.Use() {
		return nil
	}
	log := a.named("oidc")
	roots, err := pki.ReadRoots(o.CAFile)
	if err != nil {
		return fmt.Errorf("open the client of the identity provider (OIDC_CA_FILE): %w", err)
	}
	provider, err := oidc.New(oidc.Options{
		Issuer: o.Issuer, ClientID: o.ClientID, Audience: o.Audience,
		OwnerClaim: o.OwnerClaim, RoleClaim: o.RoleClaim, OperatorRoles: o.Roles(), Roots: roots, Logger: log,
		SignIn: oidc.SignIn{ClientSecret: o.ClientSecret, RedirectURL: a.cfg.SignInOrigin() + oidc.CallbackPath, Key: a.keys.FlowKey()},
	})
	if err != nil {
		return err
	}
	a.people = &people{provider, log}
	return nil
}

// openURL is where people open a session; empty if they cannot.
func (a *App) openURL() string {
	if a.people == nil {
		return ""
	}
	return a.cfg.SignInOrigin() + httpapi.OpenPath
}

// Verify implements [access.People].
func (p *people) Verify(ctx context.Context, secret session.Secret) (access.Principal, access.TokenState, error) {
	id, err := p.provider.Verify(ctx, secret)
	switch {
	case err == nil:
		return principalOf(id), access.Present, nil
	case errors.Is(err, oidc.ErrNotJWT):
		return access.Principal{}, access.Wrong, nil
	case errors.Is(err, oidc.ErrExpired):
		return access.Principal{}, access.Expired, nil
	case errors.Is(err, oidc.ErrInvalid):
		p.log.DebugContext(ctx, "token of the identity provider refused", "error", err)
		return access.Principal{}, access.Wrong, nil
	default:
		return access.Principal{}, access.Wrong, err
	}
}

// Begin implements [httpapi.SignIn].
func (p *people) Begin(w http.ResponseWriter, r *http.Request, returnTo string) error {
	return p.provider.Begin(w, r, returnTo)
}

// Finish implements [httpapi.SignIn].
func (p *people) Finish(w http.ResponseWriter, r *http.Request) (access.Principal, string, error) {
	id, returnTo, err := p.provider.Finish(w, r)
	if err != nil {
		return access.Principal{}, "", err
	}
	return principalOf(id), returnTo, nil
}

// SignOutURL implements [httpapi.SignIn].
func (p *people) SignOutURL(ctx context.Context) (string, error) { return p.provider.SignOutURL(ctx) }

// peopleSettings are what a browser's sign-in depends on.
func (a *App) peopleSettings() string {
	o := a.cfg.OIDC
	return strings.Join([]string{o.Issuer, o.ClientID, o.OwnerClaim, o.RoleClaim, o.OperatorRoles}, "\x00")
}

// principalOf is a person as a principal. Operators are named in records by what names owners too, which does not change.
func principalOf(id oidc.Identity) access.Principal {
	p := access.Principal{Kind: access.Owner, Owner: id.Owner, Until: id.Expires, AuthTime: id.SignedIn}
	if id.Operator {
		p.Kind, p.Name = access.Operator, id.Owner
	}
	return p
}
