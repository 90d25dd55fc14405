package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"berth/internal/session"
)

// rediscoverAfter is the age at which the discovery document is read again. The previous one stays in use if that fails.
const rediscoverAfter = 12 * time.Hour

// provider is what the discovery document says.
type provider struct {
	*gooidc.Provider
	issuer     string
	endpoint   oauth2.Endpoint
	keys       *keySet
	algorithms []string // of signatures of ID tokens: asymmetric ones only
	endSession string   // URL; may be empty
	sendsIss   bool     // whether the callback always has the parameter iss: RFC 9207
	discovered time.Time
}

// algorithms are those that are accepted, if the provider lists them. "none" is not one, and HMAC is not: with it the
// public key, which everybody knows, would be the secret.
var algorithms = []string{
	gooidc.RS256, gooidc.RS384, gooidc.RS512, gooidc.PS256, gooidc.PS384, gooidc.PS512,
	gooidc.ES256, gooidc.ES384, gooidc.ES512, gooidc.EdDSA,
}

// unavailable is the error of what cannot be done without the provider.
var unavailable = session.Errorf(session.CodeIdentityUnavailable,
	"the identity provider does not answer, so this cannot be verified now; try again later, or use another token")

// discover returns the provider; the first call, and the first after a while, reads its discovery document. It returns a
// CodeIdentityUnavailable error if the provider has never been reached.
func (c *Client) discover(ctx context.Context) (*provider, error) {
	known := c.provider.Load()
	fresh := func() bool {
		p := c.provider.Load()
		return p != nil && c.opts.Now().Sub(p.discovered) < rediscoverAfter
	}
	if fresh() {
		return known, nil
	}
	u := needed
	if known != nil {
		u = renewal
	}
	err := c.discovery.once(ctx, u, fresh, func(ctx context.Context) error {
		p, err := c.fetchProvider(ctx)
		if err == nil {
			c.provider.Store(p)
		}
		return err
	})
	if p := c.provider.Load(); p != nil {
		return p, nil
	}
	return nil, unavailable.Because(fmt.Errorf("discover %s: %w", c.opts.Issuer, err))
}

func (c *Client) fetchProvider(ctx context.Context) (*provider, error) {
	found, err := gooidc.NewProvider(gooidc.ClientContext(ctx, c.http), c.opts.Issuer)
	if err != nil {
		return nil, describe(err)
	}
	var document struct {
		JWKS       string   `json:"jwks_uri"`
		UserInfo   string   `json:"userinfo_endpoint"`
		EndSession string   `json:"end_session_endpoint"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
		SendsIss   bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := found.Claims(&document); err != nil {
		return nil, describe(err)
	}
	p := &provider{Provider: found, issuer: c.opts.Issuer, endpoint: found.Endpoint(), sendsIss: document.SendsIss, discovered: c.opts.Now()}
	for _, a := range document.Algorithms {
		if slices.Contains(algorithms, a) {
			p.algorithms = append(p.algorithms, a)
		}
	}
	if len(p.algorithms) == 0 {
		if len(document.Algorithms) > 0 {
			return nil, errors.New("the provider signs with none of the algorithms RS*, PS*, ES* and EdDSA")
		}
		p.algorithms = []string{gooidc.RS256} // which each provider must support
	}
	used := map[string]string{"jwks_uri": document.JWKS}
	if c.CanSignIn() {
		used["authorization_endpoint"], used["token_endpoint"] = p.endpoint.AuthURL, p.endpoint.TokenURL
		if document.UserInfo != "" {
			used["userinfo_endpoint"] = document.UserInfo
		}
	}
	for name, text := range used {
		if u, err := url.Parse(text); err != nil || !isSafe(u) {
			return nil, fmt.Errorf("the provider's %s %.200q is no https URL", name, text)
		}
	}
	if u, err := url.Parse(document.EndSession); err == nil && isSafe(u) {
		p.endSession = document.EndSession
	}
	if old := c.provider.Load(); old != nil && old.keys.url == document.JWKS {
		p.keys = old.keys
	} else {
		p.keys = newKeySet(document.JWKS, c.http, c.opts.Logger, c.opts.Now)
	}
	return p, nil
}

// verifier checks signature and issuer of tokens for an audience. It does not check their times: see [claims.checkTimes].
func (p *provider) verifier(audience string) *gooidc.IDTokenVerifier {
	return gooidc.NewVerifier(p.issuer, p.keys, &gooidc.Config{ClientID: audience, SupportedSigningAlgs: p.algorithms, SkipExpiryCheck: true})
}

// Check reads the discovery document and the keys, unless they were read a moment ago.
func (c *Client) Check(ctx context.Context) error {
	p, err := c.discover(ctx)
	if err != nil {
		return err
	}
	if err := p.keys.refresh(ctx); err != nil {
		return unavailable.Because(err)
	}
	return nil
}
