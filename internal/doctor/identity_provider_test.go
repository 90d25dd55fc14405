package doctor

import (
	"strings"
	"testing"

	"berth/internal/oidc"
	"berth/internal/oidctest"
)

func TestIdentityProvider(t *testing.T) {
	t.Parallel()
	provider := oidctest.Start(t, "https://berth.example"+oidc.CallbackPath)
	stopped := oidctest.Start(t, "https://berth.example"+oidc.CallbackPath)
	stopped.Stop()
	uses := func(issuer, public string) func(*testing.T, *Options, *fakeEngine) {
		return func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Server.PublicURL = public
			o.Config.OIDC.Issuer, o.Config.OIDC.ClientID = issuer, oidctest.ClientID
			o.Config.OIDC.ClientSecret = oidctest.SecretOf(oidctest.ClientID)
		}
	}
	checkCases{
		"none":           {nil, []string{"skipped no-provider"}},
		"good":           {uses(provider.Issuer, "https://berth.example"), []string{"pass provider-answers", "skipped redirect-unknown"}},
		"another issuer": {uses(provider.Issuer+"/", "https://berth.example"), []string{"fail provider-unavailable"}},
		"stopped":        {uses(stopped.Issuer, "https://berth.example"), []string{"fail provider-unavailable"}},
		"over http":      {uses("http://login.example", "https://berth.example"), []string{"fail provider-settings-faulty"}},
		"no address":     {uses(provider.Issuer, "http://berth.example"), []string{"fail provider-settings-faulty"}},
	}.run(t, "identity-provider")
}

func TestIdentityProviderNamesTheRedirectURL(t *testing.T) {
	t.Parallel()
	provider := oidctest.Start(t, "https://berth.example"+oidc.CallbackPath)
	var o Options
	o.Config.Server.PublicURL = "https://berth.example"
	o.Config.OIDC.Issuer, o.Config.OIDC.ClientID, o.Config.OIDC.ClientSecret = provider.Issuer, "berth", "secret"
	findings := identityProvider(t.Context(), &o)
	if last := findings[len(findings)-1].Seen; !strings.Contains(last, "https://berth.example/auth/oidc/callback") {
		t.Errorf("got %q, want the redirect URL", last)
	}
}
