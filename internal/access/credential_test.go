package access_test

import (
	"encoding/base64"
	"testing"

	"berth/internal/access"
	"berth/internal/session"
)

func TestReadCredential(t *testing.T) {
	t.Parallel()
	basic := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	const both = access.ViaBearer | access.ViaBasic
	for name, c := range map[string]struct {
		authorization []string
		accept        access.Via
		want          session.Secret
	}{
		"bearer":                     {[]string{"Bearer t"}, both, "t"},
		"bearer in another case":     {[]string{"bEARER  t "}, both, "t"},
		"bearer is not accepted":     {[]string{"Bearer t"}, access.ViaBasic, ""},
		"basic":                      {[]string{basic("user:t")}, both, "t"},
		"basic with colons":          {[]string{basic("user:t:u")}, both, "t:u"},
		"basic without a user":       {[]string{basic(":t")}, both, "t"},
		"basic without a password":   {[]string{basic("t")}, both, ""},
		"basic that is not base64":   {[]string{"Basic t"}, both, ""},
		"basic is not accepted":      {[]string{basic("user:t")}, access.ViaBearer, ""},
		"another scheme":             {[]string{"Digest t"}, both, ""},
		"no scheme":                  {[]string{"t"}, both, ""},
		"no header":                  {nil, both, ""},
		"two headers, both the same": {[]string{"Bearer t", "Bearer t"}, both, ""},
	} {
		if got := access.ReadCredential(c.authorization, c.accept); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got.Reveal(), c.want.Reveal())
		}
	}
}
