package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"berth/internal/session"
)

// GitHost gives sessions a credential for repositories of a host. Of several the first one counts that has the host, the path and
// the owner of the session; without one, a host that is named is fetched from without a credential.
type GitHost struct {
	Host      string         `yaml:"host"`               // as in the URLs of its repositories: "github.com", "git.example.com:8443"
	Paths     []string       `yaml:"paths,omitempty"`    // "team/app", "team/*" (one level) or "team/**", without .git; empty: all
	Owners    []string       `yaml:"owners,omitempty"`   // of sessions; empty: all
	Username  string         `yaml:"username,omitempty"` // empty: "git"
	Token     session.Secret `yaml:"token,omitempty"`
	TokenFile string         `yaml:"token_file,omitempty"` // read again when it changes
	Push      bool           `yaml:"push"`                 // false: it fetches only
	BaseURL   string         `yaml:"base_url,omitempty"`   // where its repositories are; empty: https://HOST/
}

// URL is the base URL, or nil if it is the usual one.
func (g GitHost) URL() (*url.URL, error) {
	if g.BaseURL == "" {
		return nil, nil //nolint:nilnil // nil is the usual one
	}
	return url.Parse(g.BaseURL)
}

func (v *checker) git(hosts []GitHost) {
	for i, g := range hosts {
		at := fmt.Sprintf("git[%d]", i)
		parsed, err := session.ParseRepository("https://" + g.Host + "/x")
		v.that(err == nil && parsed.Host == g.Host, at+".host", g.Host, "must be a host name in lower case, perhaps with a port")
		v.that(g.Token == "" || g.TokenFile == "", at+".token", "", "contradicts token_file: give one of them")
		v.key(at+".token", g.Token)
		v.that(!g.Push || g.Token != "" || g.TokenFile != "", at+".push", g.Push, "needs token or token_file")
		v.that(!strings.ContainsAny(g.Username, ":\r\n"), at+".username", "", "must have no colon and no line break")
		v.that(g.BaseURL == "" || isModelURL(g.BaseURL), at+".base_url", redactedURL(g.BaseURL),
			"must be like https://git.example.com/, without user, query and fragment; http is for private networks and loopback hosts only")
		v.that(!slices.Contains(g.Owners, "") && !slices.Contains(g.Paths, ""), at, "", "has an empty owner or path")
	}
}
