package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzCookie(f *testing.F) {
	for _, seed := range []string{"a=b; Domain = example.com", "a=b;domain\t=x;path=/", "=berth_x=1", "berth_x", "a=b; Path=/;Path=x;DOMAIN", "__Host-Berth_x=1;;=", "\f=", "a\x00=b;\vDomain=c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cookie string) {
		got, ok := rewriteCookie(cookie, "/s/ses-one")
		if !ok {
			return
		}
		pair, attributes, _ := strings.Cut(got, ";")
		name, _, named := strings.Cut(pair, "=")
		if !named || strings.TrimSpace(name) == "" || strings.Contains(strings.ToLower(name), "berth_") && isOurCookie(pair) {
			t.Errorf("%q became %q, which may be read as one of ours", cookie, got)
		}
		for attribute := range strings.SplitSeq(attributes, ";") {
			key, value, _ := strings.Cut(attribute, "=")
			key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
			if key == "domain" || key == "path" && strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "/s/ses-one/") {
				t.Errorf("%q became %q, which reaches further than its session", cookie, got)
			}
		}
	})
}

func TestCookiesThatDoNotFitAreNotForwarded(t *testing.T) {
	t.Parallel()
	large, half := "bomb="+strings.Repeat("x", maxForwarded), "half="+strings.Repeat("x", maxForwarded/2)
	for name, c := range map[string]struct{ got, want []string }{
		"small ones":         {[]string{"a=1;b=2"}, []string{"a=1; b=2"}},
		"one that is large":  {[]string{"a=1; " + large + "; b=2"}, []string{"a=1; b=2"}},
		"two in two fields":  {[]string{half, half + "; b=2"}, []string{half, "b=2"}},
		"ours do not count":  {[]string{"berth-x=" + large + "; a=1"}, []string{"a=1"}},
		"none that does fit": {[]string{large}, nil},
	} {
		if d := cmp.Diff(c.want, forwardedCookies(c.got)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
