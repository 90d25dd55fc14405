package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// provider is a complete set of settings of an OpenID provider.
var provider = []string{
	"OIDC_ISSUER=https://login.example.com", "OIDC_CLIENT_ID=berth", "OIDC_CLIENT_SECRET=secret", "BERTH_PUBLIC_URL=https://berth.example.com",
}

// without returns the settings without one, and with others.
func without(settings []string, name string, more ...string) []string {
	kept := slices.DeleteFunc(slices.Clone(settings), func(s string) bool { return strings.HasPrefix(s, name+"=") })
	return append(kept, more...)
}

func TestOIDCSettingsAreCheckedTogether(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		environ           []string
		variable, problem string // empty: no fault
	}{
		"complete":                  {provider, "", ""},
		"with roles":                {append(slices.Clone(provider), "OIDC_ROLE_CLAIM=roles", "OIDC_OPERATOR_ROLES=admin"), "", ""},
		"on one machine":            {without(provider, "BERTH_PUBLIC_URL"), "", ""},
		"issuer on one machine":     {without(provider, "OIDC_ISSUER", "OIDC_ISSUER=http://127.0.0.1:9998/realm"), "", ""},
		"issuer over http":          {without(provider, "OIDC_ISSUER", "OIDC_ISSUER=http://login.example.com"), "OIDC_ISSUER", "https"},
		"issuer with a password":    {without(provider, "OIDC_ISSUER", "OIDC_ISSUER=https://a:b@login.example.com"), "OIDC_ISSUER", "without user"},
		"issuer without scheme":     {without(provider, "OIDC_ISSUER", "OIDC_ISSUER=login.example.com"), "OIDC_ISSUER", "https"},
		"no client":                 {without(provider, "OIDC_CLIENT_ID"), "OIDC_CLIENT_ID", "registered"},
		"no secret":                 {without(provider, "OIDC_CLIENT_SECRET"), "OIDC_CLIENT_SECRET", "confidential"},
		"two secrets":               {append(slices.Clone(provider), "OIDC_CLIENT_SECRET_FILE=/x"), "OIDC_CLIENT_SECRET_FILE", "contradicts"},
		"no issuer":                 {without(without(provider, "OIDC_ISSUER"), "OIDC_CLIENT_SECRET"), "OIDC_CLIENT_ID", "needs OIDC_ISSUER"},
		"a claim without roles":     {append(slices.Clone(provider), "OIDC_ROLE_CLAIM=roles"), "OIDC_ROLE_CLAIM", "both"},
		"an authority of no issuer": {[]string{"OIDC_CA_FILE=/x"}, "OIDC_CA_FILE", "needs OIDC_ISSUER"},
		"roles without a claim":     {append(slices.Clone(provider), "OIDC_OPERATOR_ROLES=admin"), "OIDC_ROLE_CLAIM", "both"},
		"public over http":          {without(provider, "BERTH_PUBLIC_URL", "BERTH_PUBLIC_URL=http://berth.example.com"), "OIDC_ISSUER", "BERTH_PUBLIC_URL"},
		"no public address":         {without(provider, "BERTH_PUBLIC_URL", "BERTH_LISTEN=0.0.0.0:8080"), "OIDC_ISSUER", "BERTH_PUBLIC_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.variable == "" {
				if _, err := Load(Options{Environ: append(slices.Clone(tc.environ), home)}); err != nil {
					t.Errorf("got %v, want no fault", err)
				}
				return
			}
			got := faults(t, Options{Environ: tc.environ})
			if f, ok := got[tc.variable]; !ok || !strings.Contains(f.Problem, tc.problem) || len(got) != 1 {
				t.Errorf("got faults %v, want one of %s with %q", got, tc.variable, tc.problem)
			}
		})
	}
}

func TestOIDCClientSecretIsReadFromFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from the file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Options{Environ: append(without(provider, "OIDC_CLIENT_SECRET"), home, "OIDC_CLIENT_SECRET_FILE="+file)})
	if got := c.OIDC.ClientSecret.Reveal(); err != nil || got != "from the file" {
		t.Errorf("got %q and error %v", got, err)
	}
}

func TestSignInOrigin(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ public, listen, want string }{
		{"https://Berth.example.com/", "0.0.0.0:8080", "https://berth.example.com"},
		{"https://berth.example.com:8443", "0.0.0.0:8080", "https://berth.example.com:8443"},
		{"http://localhost:9000", "0.0.0.0:8080", "http://localhost:9000"},
		{"http://berth.example.com", "127.0.0.1:8080", ""},
		{"", "127.0.0.1:8080", "http://127.0.0.1:8080"},
		{"", "127.0.0.1:0", ""},
		{"", "0.0.0.0:8080", ""},
	} {
		c := Config{Server: Server{PublicURL: tc.public, Listen: tc.listen}}
		if got := c.SignInOrigin(); got != tc.want {
			t.Errorf("%+v: got %q, want %q", tc, got, tc.want)
		}
	}
}

func TestOIDCRolesAreSplitAtCommas(t *testing.T) {
	t.Parallel()
	if got := (OIDC{OperatorRoles: " a, b c ,,"}).Roles(); !slices.Equal(got, []string{"a", "b c"}) {
		t.Errorf("got %q", got)
	}
}

func TestClaimsThatChangeAreWarnedOf(t *testing.T) {
	t.Parallel()
	for claim, want := range map[string]bool{"sub": false, "email": true, "preferred_username": true, "employee_number": false} {
		c, err := Load(Options{Environ: append(slices.Clone(provider), home, "OIDC_OWNER_CLAIM="+claim)})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(c.Warnings(), "\n"), "OIDC_OWNER_CLAIM"); got != want {
			t.Errorf("%s: warned of: %v, want %v", claim, got, want)
		}
	}
}
