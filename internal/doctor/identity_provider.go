package doctor

import (
	"context"
	"errors"

	"berth/internal/oidc"
	"berth/internal/pki"
)

// identityProvider checks that the OpenID provider answers and its keys can be read. Which redirect URLs are registered there,
// only the provider knows.
func identityProvider(ctx context.Context, o *Options) []Finding {
	s := o.Config.OIDC
	if !s.Use() {
		return []Finding{skip("no-provider", "OIDC_ISSUER is not set: nobody signs in at an identity provider")}
	}
	redirect := o.Config.SignInOrigin() + oidc.CallbackPath
	roots, err := pki.ReadRoots(s.CAFile)
	if err != nil {
		return []Finding{fail("provider-settings-faulty", "correct OIDC_CA_FILE", "the authority of the identity provider cannot be read: %v", err)}
	}
	c, err := oidc.New(oidc.Options{
		Issuer: s.Issuer, ClientID: s.ClientID, Roots: roots, Now: o.Now,
		SignIn: oidc.SignIn{ClientSecret: s.ClientSecret, RedirectURL: redirect, Key: make([]byte, 32)}, // seals nothing
	})
	if err != nil {
		return []Finding{fail("provider-settings-faulty", "correct the settings OIDC_… and BERTH_PUBLIC_URL", "%v", err)}
	}
	if err := c.Check(ctx); err != nil {
		if cause := errors.Unwrap(err); cause != nil {
			err = cause
		}
		return []Finding{fail("provider-unavailable",
			"check OIDC_ISSUER, which must be exactly the provider's own, that OIDC_CA_FILE has its authority if that is a private one, and that this machine reaches it (curl "+s.Issuer+"/.well-known/openid-configuration)",
			"nobody can sign in, because the provider cannot be used: %v", err)}
	}
	return []Finding{
		pass("provider-answers", "%s answers and has keys", s.Issuer),
		skip("redirect-unknown", "register %s as a redirect URL of the client %s at the provider; it cannot be seen from here whether it is", redirect, s.ClientID),
	}
}
