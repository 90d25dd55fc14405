package doctor

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/internal/oidc"
	"berth/internal/oidctest"
)

// privateIssuer is a provider with discovery and keys only, whose certificate no authority of this machine has issued.
func privateIssuer(t *testing.T) *httptest.Server {
	t.Helper()
	var server *httptest.Server
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/keys" {
			_, _ = fmt.Fprint(w, `{"keys":[{"kty":"EC","crv":"P-256","kid":"k","use":"sig","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"issuer":%[1]q,"jwks_uri":"%[1]s/keys","authorization_endpoint":"%[1]s/a","token_endpoint":"%[1]s/t","id_token_signing_alg_values_supported":["ES256"]}`, server.URL)
	}))
	t.Cleanup(server.Close)
	return server
}

func writeRoot(t *testing.T, server *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

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
	private := privateIssuer(t)
	trusts := func(issuer, file string) func(*testing.T, *Options, *fakeEngine) {
		return func(t *testing.T, o *Options, e *fakeEngine) {
			uses(issuer, "https://berth.example")(t, o, e)
			o.Config.OIDC.CAFile = file
		}
	}
	root := writeRoot(t, private)
	checkCases{
		"private, trusted":     {trusts(private.URL, root), []string{"pass provider-answers", "skipped redirect-unknown"}},
		"private, not trusted": {trusts(private.URL, ""), []string{"fail provider-unavailable"}},
		"no such authority":    {trusts(private.URL, root+"x"), []string{"fail provider-settings-faulty"}},
		"none":                 {nil, []string{"skipped no-provider"}},
		"good":                 {uses(provider.Issuer, "https://berth.example"), []string{"pass provider-answers", "skipped redirect-unknown"}},
		"another issuer":       {uses(provider.Issuer+"/", "https://berth.example"), []string{"fail provider-unavailable"}},
		"stopped":              {uses(stopped.Issuer, "https://berth.example"), []string{"fail provider-unavailable"}},
		"over http":            {uses("http://login.example", "https://berth.example"), []string{"fail provider-settings-faulty"}},
		"no address":           {uses(provider.Issuer, "http://berth.example"), []string{"fail provider-settings-faulty"}},
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
