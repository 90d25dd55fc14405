package oidc

import (
	"encoding/base64"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"berth/internal/session"
)

func TestVerifyReturnsIdentity(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	c := i.client(nil)
	until := i.now().Add(time.Hour).Truncate(time.Second).UTC()
	got, err := c.Verify(t.Context(), i.token(claims{"exp": until.Unix(), "auth_time": until.Unix() - 7200, "preferred_username": "Ann\nA"}))
	want := Identity{Owner: "ann", Subject: "ann", Name: "Ann A", SignedIn: until.Add(-2 * time.Hour), Expires: until.Add(leeway)}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v; -want +got:\n%s", err, diff)
	}
}

func TestVerifyRejectsInvalidTokens(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	c := i.client(nil)
	other := newKey(t, "first") // the same ID, another key
	now := i.now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for name, tc := range map[string]struct {
		token session.Secret
		want  error
	}{
		"signed by another":               {sign(t, jose.ES256, other, "JWT", i.claims(nil)), ErrInvalid},
		"not signed":                      {unsigned("none", i.claims(nil)), ErrInvalid},
		"not signed, in capitals":         {unsigned("NONE", i.claims(nil)), ErrInvalid},
		"HMAC with the public key":        {sign(t, jose.HS256, publicBytes(i.keys[0].Public().Key), "JWT", i.claims(nil)), ErrInvalid},
		"another issuer":                  {i.token(claims{"iss": "https://evil.example"}), ErrInvalid},
		"the issuer with a slash":         {i.token(claims{"iss": i.URL + "/"}), ErrInvalid},
		"no issuer":                       {i.token(claims{"iss": nil}), ErrInvalid},
		"another audience":                {i.token(claims{"aud": "other"}), ErrInvalid},
		"no audience":                     {i.token(claims{"aud": nil}), ErrInvalid},
		"another client's, for us too":    {i.token(claims{"aud": []string{clientID, "other"}, "azp": "other"}), ErrInvalid},
		"expired":                         {i.token(claims{"exp": at(-leeway - time.Second)}), ErrExpired},
		"without an end":                  {i.token(claims{"exp": nil}), ErrInvalid},
		"not valid yet":                   {i.token(claims{"nbf": at(leeway + 5*time.Second)}), ErrInvalid},
		"valid from a text":               {i.token(claims{"nbf": "1"}), ErrInvalid},
		"a notice of a logout":            {i.token(claims{"events": map[string]any{}}), ErrInvalid},
		"typed as a notice of a logout":   {sign(t, jose.ES256, i.keys[0], "logout+jwt", i.claims(nil)), ErrInvalid},
		"without a subject":               {i.token(claims{"sub": nil}), ErrInvalid},
		"with an empty subject":           {i.token(claims{"sub": ""}), ErrInvalid},
		"with spaces as a subject":        {i.token(claims{"sub": "  "}), ErrInvalid},
		"with an invisible subject":       {i.token(claims{"sub": "ann\u200b"}), ErrInvalid},
		"with a subject of 256 letters":   {i.token(claims{"sub": strings.Repeat("a", 256)}), ErrInvalid},
		"with a number as a subject":      {i.token(claims{"sub": 7}), ErrInvalid},
		"too long":                        {i.token(claims{"x": strings.Repeat("a", maxToken)}), ErrNotJWT},
		"empty":                           {"", ErrNotJWT},
		"a session token":                 {"GBt2AcgXbUJvfkc1bHEkzCLcCDIyJhu2", ErrNotJWT},
		"a text with dots":                {"berth.example.com:8080", ErrNotJWT},
		"JSON serialization":              {`{"payload":"e30","protected":"e30","signature":"e30"}`, ErrNotJWT},
		"five parts, as encrypted":        {"e30.e30.e30.e30.e30", ErrNotJWT},
		"an empty signature":              {"e30.e30.", ErrNotJWT},
		"three parts that say nothing":    {"a.b.c", ErrInvalid},
		"a header that is no JSON object": {session.Secret(base64.RawURLEncoding.EncodeToString([]byte("[]")) + ".e30.e30"), ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := c.Verify(t.Context(), tc.token)
			if !errors.Is(err, tc.want) {
				t.Errorf("got error %v, want %v", err, tc.want)
			}
			if got != (Identity{}) {
				t.Errorf("got identity %+v of a token that is refused", got)
			}
		})
	}
}

func TestVerifyAcceptsTokensWithinLeeway(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	c := i.client(nil)
	now := i.now()
	for name, change := range map[string]claims{
		"just expired":   {"exp": now.Add(-leeway + 5*time.Second).Unix()},
		"valid soon":     {"nbf": now.Add(leeway - 5*time.Second).Unix()},
		"at+jwt, no kid": nil,
	} {
		raw := i.token(change)
		if change == nil {
			raw = sign(t, jose.ES256, i.keys[0].Key, "at+jwt", i.claims(nil))
		}
		if _, err := c.Verify(t.Context(), raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifyWithAudienceAcceptsAnyClient(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	c := i.client(func(o *Options) { o.Audience = "https://berth.example" })
	if _, err := c.Verify(t.Context(), i.token(claims{"aud": []string{"x", "https://berth.example"}, "azp": "cli"})); err != nil {
		t.Errorf("a token for the audience: %v", err)
	}
	if _, err := c.Verify(t.Context(), i.token(nil)); !errors.Is(err, ErrInvalid) {
		t.Errorf("got error %v for a token for the client, want %v", err, ErrInvalid)
	}
}

func TestOwnerIsReadFromClaim(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	for name, tc := range map[string]struct {
		claim string
		have  claims
		want  string // empty: refused
	}{
		"of its own":            {"username", claims{"username": "ann.b"}, "ann.b"},
		"nested":                {"ext.user.id", claims{"ext": claims{"user": claims{"id": "7"}}}, "7"},
		"a URL":                 {"https://x.example/id", claims{"https://x.example/id": "u"}, "u"},
		"missing":               {"username", nil, ""},
		"nested in text":        {"sub.id", nil, ""},
		"a list":                {"username", claims{"username": []string{"a"}}, ""},
		"verified address":      {"email", claims{"email": "a@x.example", "email_verified": true}, "a@x.example"},
		"address that may lie":  {"email", claims{"email": "a@x.example", "email_verified": false}, ""},
		"address, not verified": {"email", claims{"email": "a@x.example"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := i.client(func(o *Options) { o.OwnerClaim = tc.claim })
			got, err := c.Verify(t.Context(), i.token(tc.have))
			if got.Owner != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("got owner %q and error %v, want %q", got.Owner, err, tc.want)
			}
		})
	}
}

func TestOnlyListedRolesAreOperators(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	for name, tc := range map[string]struct {
		claim string
		have  claims
		want  bool
	}{
		"one":                      {"role", claims{"role": "admin"}, true},
		"second of the listed":     {"role", claims{"role": "root"}, true},
		"in a list":                {"role", claims{"role": []string{"dev", "admin"}}, true},
		"nested":                   {"realm_access.roles", claims{"realm_access": claims{"roles": []string{"admin"}}}, true},
		"a claim that is a URL":    {"https://x.example/roles", claims{"https://x.example/roles": []string{"admin"}}, true},
		"another":                  {"role", claims{"role": "dev"}, false},
		"in other letters":         {"role", claims{"role": "Admin"}, false},
		"several in one text":      {"role", claims{"role": "dev admin"}, false},
		"a member of an object":    {"role", claims{"role": claims{"admin": true}}, false},
		"a list in a list":         {"role", claims{"role": [][]string{{"admin"}}}, false},
		"true":                     {"role", claims{"role": true}, false},
		"empty":                    {"role", claims{"role": ""}, false},
		"missing":                  {"role", nil, false},
		"no claim is asked for":    {"", claims{"": "admin", "role": "admin"}, false},
		"of another claim":         {"role", claims{"roles": "admin"}, false},
		"the operator's by a name": {"role", claims{"sub": "admin"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := i.client(func(o *Options) { o.RoleClaim, o.OperatorRoles = tc.claim, []string{"admin", "root"} })
			got, err := c.Verify(t.Context(), i.token(tc.have))
			if err != nil || got.Operator != tc.want {
				t.Errorf("got operator %v and error %v, want %v", got.Operator, err, tc.want)
			}
		})
	}
}

func FuzzIsJWT(f *testing.F) {
	f.Add("e30.e30.e30")
	f.Add("a..b")
	f.Add(strings.Repeat("a", maxToken) + ".b.c")
	f.Add("GBt2AcgXbUJvfkc1bHEkzCLcCDIyJhu2")
	f.Add("a.b.c\n")
	form := regexp.MustCompile(`\A[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\z`)
	f.Fuzz(func(t *testing.T, text string) {
		if got, want := IsJWT(text), len(text) <= maxToken && form.MatchString(text); got != want {
			t.Errorf("got %v for %q, want %v", got, text, want)
		}
	})
}

func FuzzVerify(f *testing.F) {
	i := newIssuer(f)
	c := i.client(nil)
	valid := i.token(nil).Reveal()
	signed := valid[:strings.LastIndex(valid, ".")]
	f.Add(valid)
	f.Add(valid + "A")
	f.Add(unsigned("none", i.claims(nil)).Reveal())
	f.Add(signed + ".e30")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := c.Verify(t.Context(), session.Secret(text))
		if err == nil && !strings.HasPrefix(text, signed+".") {
			t.Errorf("%q is accepted as %+v, and the provider has not signed it", text, got)
		}
		if err != nil && !errors.Is(err, ErrNotJWT) && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrExpired) {
			t.Errorf("got error %v for %q", err, text)
		}
	})
}
