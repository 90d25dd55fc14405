// Package git passes git's smart HTTP protocol on from sessions to the hosts that the operator names, with credentials that no session
// sees.
//
// It knows hosts, paths and owners. It does not know who asks, which package gateway has found out, and nothing of what is in a
// repository: which branches a credential may change is the host's matter.
package git

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"berth/internal/session"
)

// Rule gives requests for a host a credential. Of several rules the first one that fits counts.
type Rule struct {
	Host    string   // as in the URLs of its repositories, in lower case, with a port unless it is 443: "github.com"
	BaseURL *url.URL // where its repositories are; nil: "https://HOST/"
	Paths   []string // of repositories, without ".git": "team/app", "team/*" (one level), "team/**" (all below); empty: all
	Owners  []string // of sessions; empty: all
	Push    bool     // whether the credential may push; false: it fetches only

	Username string                         // empty: "git"
	Token    func() (session.Secret, error) // password; asked for with each request; nil: requests are anonymous
}

// Options are the settings of a [Service].
type Options struct {
	Rules []Rule
	// Refused is called for each request that is not passed on: with a word for the rule, and what was asked for. May be nil.
	Refused func(ctx context.Context, caller session.Caller, rule, what string)
	Logger  *slog.Logger
	// Transport speaks to the hosts; nil: one without a proxy.
	Transport http.RoundTripper
}

// Service answers the requests of sessions below /git/. Make it with [New].
type Service struct {
	opts Options
}

// New checks the rules.
func New(o Options) (*Service, error) {
	var faults []error
	o.Rules = slices.Clone(o.Rules)
	for i := range o.Rules {
		r := &o.Rules[i]
		if err := r.complete(); err != nil {
			faults = append(faults, fmt.Errorf("git host %q: %w", r.Host, err))
		}
	}
	if o.Logger == nil {
		faults = append(faults, errors.New("the logger is missing"))
	}
	if o.Transport == nil {
		dialer := net.Dialer{Timeout: dialTimeout}
		o.Transport = &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: dialTimeout, IdleConnTimeout: idleTimeout, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 8, MaxResponseHeaderBytes: 64 << 10,
			DisableCompression: true, // what git compresses stays as it is
		}
	}
	return &Service{opts: o}, errors.Join(faults...)
}

// Time-outs of connections to hosts. There is none for requests: a push of gigabytes takes as long as it takes.
const (
	dialTimeout = 15 * time.Second
	idleTimeout = 90 * time.Second
)

// complete checks a rule and fills in its defaults.
func (r *Rule) complete() error {
	at, err := session.ParseRepository("https://" + r.Host + "/x")
	if err != nil || at.Host != r.Host {
		return errors.New("a host is a name in lower case, perhaps with a port")
	}
	if r.BaseURL == nil {
		r.BaseURL = &url.URL{Scheme: "https", Host: r.Host, Path: "/"}
	}
	if u := r.BaseURL; u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("its base URL is not http or https with a host, without user, query and fragment")
	}
	for _, p := range r.Paths {
		if _, err := path.Match(p, ""); err != nil || strings.HasPrefix(p, "/") || strings.HasSuffix(p, ".git") || p == "" {
			return fmt.Errorf("the path %q is not like team/app, team/* or team/**", p)
		}
	}
	if r.Username == "" {
		r.Username = "git"
	}
	if strings.ContainsAny(r.Username, ":\r\n") {
		return errors.New("the user name has a colon or a line break")
	}
	return nil
}

// fits reports whether the rule is for a repository and a session's owner.
func (r *Rule) fits(repository, owner string) bool {
	if len(r.Owners) > 0 && !slices.Contains(r.Owners, owner) {
		return false
	}
	return len(r.Paths) == 0 || slices.ContainsFunc(r.Paths, func(pattern string) bool { return matches(pattern, repository) })
}

// matches compares a path with a pattern, of which "**" at the end is everything below.
func matches(pattern, repository string) bool {
	above, deep := strings.CutSuffix(pattern, "/**")
	if !deep {
		ok, _ := path.Match(pattern, repository)
		return ok || pattern == "**"
	}
	segments, levels := strings.Split(repository, "/"), strings.Count(above, "/")+1
	if len(segments) <= levels {
		return false
	}
	ok, _ := path.Match(above, strings.Join(segments[:levels], "/"))
	return ok
}

// Hosts lists the hosts of the rules, each once, in their order.
func (s *Service) Hosts() []string {
	var hosts []string
	for _, r := range s.opts.Rules {
		if !slices.Contains(hosts, r.Host) {
			hosts = append(hosts, r.Host)
		}
	}
	return hosts
}
