package doctor

import "testing"

func TestSessionOrigins(t *testing.T) {
	t.Parallel()
	with := func(public, domain, ports string) func(*testing.T, *Options, *fakeEngine) {
		return func(_ *testing.T, o *Options, _ *fakeEngine) {
			o.Config.Server.PublicURL, o.Config.Session.Domain, o.Config.Session.Ports = public, domain, ports
		}
	}
	checkCases{
		"none":          {nil, []string{"skipped no-origins"}},
		"another site":  {with("https://berth.example.com", "berth-sessions.net:8443", ""), []string{"pass separate-site"}},
		"a sibling":     {with("https://berth.example.com", "sessions.example.com", ""), []string{"warn same-site"}},
		"public suffix": {with("https://berth.github.io", "sessions.github.io", ""), []string{"pass separate-site"}},
		"plain HTTP":    {with("http://berth.example.com", "sessions.example.org", ""), []string{"pass separate-site", "warn no-tls"}},
		"ports":         {with("https://berth.example.com", "", "20000-20999"), []string{"warn ports"}},
		"few ports":     {with("https://berth.example.com", "", "20000-20001"), []string{"warn ports", "warn too-few-ports"}},
		"both":          {with("https://berth.example.com", "berth-sessions.net", "20000-20999"), []string{"pass separate-site"}},
		"plain ports":   {with("http://192.0.2.2:8080", "", "20000-20999"), []string{"warn no-tls", "warn ports"}},
		"an address":    {with("https://10.0.0.1", "sessions.example.com", ""), []string{"pass separate-site"}},
		"faulty":        {with("berth", "", "20000-20999"), []string{"fail public-url-faulty"}},
	}.run(t, "session-origins")
}
