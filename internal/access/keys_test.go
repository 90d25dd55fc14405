package access_test

import (
	"strings"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/session"
)

func keys(t *testing.T, secret string) access.Keys {
	t.Helper()
	k, err := access.NewKeys([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestTokensHaveTheirLengthAndUseTheWholeAlphabet(t *testing.T) {
	t.Parallel()
	seen := map[rune]int{}
	for range 2000 {
		token := access.NewToken(32).Reveal()
		if len(token) != 32 {
			t.Fatalf("got a token of %d characters, want 32", len(token))
		}
		for _, c := range token {
			seen[c]++
		}
	}
	if len(seen) != 62 {
		t.Errorf("got %d different characters, want the 62 letters and digits", len(seen))
	}
	for c, n := range seen { // 64,000 draws: 1032 expected each, standard deviation 32
		if n < 800 || n > 1270 {
			t.Errorf("%q was drawn %d times of 64000, want about 1032: the draw is not fair", c, n)
		}
	}
}

func TestDigestDependsOnTokenAndSecret(t *testing.T) {
	t.Parallel()
	a, b := keys(t, "secret number one, long"), keys(t, "secret number two, long")
	token := access.NewToken(32)
	if !a.Matches(token, a.Digest(token)) {
		t.Error("a token does not match its own digest")
	}
	for name, digest := range map[string]string{
		"of another token":       a.Digest(token + "x"),
		"under another secret":   b.Digest(token),
		"empty":                  "",
		"the token itself":       token.Reveal(),
		"the upstream of a name": a.Upstream(token.Reveal()).Reveal(),
	} {
		if a.Matches(token, digest) {
			t.Errorf("a token matches a digest that is %s", name)
		}
	}
	if strings.Contains(a.Digest(token), token.Reveal()) {
		t.Error("the digest holds the token")
	}
}

func TestUpstreamCredentialIsStableAndDifferentForEachContainer(t *testing.T) {
	t.Parallel()
	k := keys(t, "a secret of enough bytes")
	first, again := k.Upstream("berth-a"), keys(t, "a secret of enough bytes").Upstream("berth-a")
	if first != again {
		t.Error("the same container got two credentials")
	}
	if k.Upstream("berth-a") == k.Upstream("berth-b") {
		t.Error("two containers got the same credential")
	}
}

func TestShortSecretIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := access.NewKeys([]byte("fifteen bytes..")); err == nil {
		t.Error("NewKeys took a secret of 15 bytes")
	}
}

func TestCheckDecidesTokenState(t *testing.T) {
	t.Parallel()
	k := keys(t, "the secret of this very test")
	now := time.Now()
	later, earlier := now.Add(time.Nanosecond), now.Add(-time.Nanosecond)
	own, before := k.Digest("own"), k.Digest("before")
	for name, c := range map[string]struct {
		token  session.Secret
		tokens session.Token
		want   access.TokenState
	}{
		"own, never expires":            {"own", session.Token{Digest: own}, access.Present},
		"own, until later":              {"own", session.Token{Digest: own, ExpiresAt: later}, access.Present},
		"own, until now":                {"own", session.Token{Digest: own, ExpiresAt: now}, access.Expired},
		"own, swept":                    {"own", session.Token{ExpiresAt: earlier}, access.Wrong},
		"own, while another has grace":  {"own", session.Token{Digest: own, PreviousDigest: before, PreviousExpiresAt: later}, access.Present},
		"before, in its grace":          {"before", session.Token{Digest: own, PreviousDigest: before, PreviousExpiresAt: later}, access.Previous},
		"before, at the end of grace":   {"before", session.Token{Digest: own, PreviousDigest: before, PreviousExpiresAt: now}, access.Wrong},
		"before, without a grace":       {"before", session.Token{Digest: own}, access.Wrong},
		"another":                       {"another", session.Token{Digest: own, PreviousDigest: before, PreviousExpiresAt: later}, access.Wrong},
		"of no session":                 {"own", session.Token{}, access.Wrong},
		"the digest":                    {session.Secret(own), session.Token{Digest: own}, access.Wrong},
		"none":                          {"", session.Token{Digest: own}, access.Missing},
		"none, of no session":           {"", session.Token{}, access.Missing},
		"none, although it has matched": {"", session.Token{Digest: k.Digest("")}, access.Missing},
	} {
		if got := k.Check(c.token, c.tokens, now); got != c.want || got.Valid() != (c.want == access.Present || c.want == access.Previous) {
			t.Errorf("%s: got %s, valid %v; want %s", name, got, got.Valid(), c.want)
		}
	}
}
