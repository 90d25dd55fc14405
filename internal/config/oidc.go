package config

import (
	"net"
	"net/url"
	"slices"
	"strings"
)

// Use reports whether there is an OpenID provider.
func (o OIDC) Use() bool { return o.Issuer != "" }

// Roles are the roles that make an operator.
func (o OIDC) Roles() []string {
	var all []string
	for role := range strings.SplitSeq(o.OperatorRoles, ",") {
		if role = strings.TrimSpace(role); role != "" {
			all = append(all, role)
		}
	}
	return all
}

// readSecret reads the client secret from its file, if there is a provider.
func (o *OIDC) readSecret() []Fault {
	if !o.Use() {
		return nil
	}
	return readSecret(&o.ClientSecret, "OIDC_CLIENT_SECRET", o.ClientSecretFile)
}

// SignInOrigin is the address that people open to sign in: that of BERTH_PUBLIC_URL, or else that of BERTH_LISTEN if only this
// machine reaches it. It is empty if neither can be used: browsers keep the cookies over https and on loopback hosts only.
func (c Config) SignInOrigin() string {
	public, err := c.Server.Public()
	switch {
	case err != nil:
		return ""
	case public == nil && loopback(c.Server.Listen) && hostPort(c.Server.Listen, 1):
		if c.Server.TLSCert != "" {
			return "https://" + c.Server.Listen
		}
		return "http://" + c.Server.Listen
	case public == nil || !isSafeURL(public):
		return ""
	default:
		return public.String()
	}
}

func (v *checker) oidc(c Config) {
	o := c.OIDC
	if !o.Use() {
		for _, unused := range []struct{ variable, value string }{
			{"OIDC_CLIENT_ID", o.ClientID},
			{"OIDC_CLIENT_SECRET", o.ClientSecret.Reveal()},
			{"OIDC_CLIENT_SECRET_FILE", o.ClientSecretFile},
			{"OIDC_CA_FILE", o.CAFile},
			{"OIDC_AUDIENCE", o.Audience},
			{"OIDC_ROLE_CLAIM", o.RoleClaim},
			{"OIDC_OPERATOR_ROLES", o.OperatorRoles},
		} {
			v.that(unused.value == "", unused.variable, "", "needs OIDC_ISSUER, the URL of the provider")
		}
		return
	}
	issuer, err := url.Parse(o.Issuer)
	v.that(err == nil && isSafeURL(issuer), "OIDC_ISSUER", o.Issuer,
		"must be like https://login.example.com, without user, query and fragment; http is for loopback hosts only")
	v.that(o.ClientID != "", "OIDC_CLIENT_ID", o.ClientID, "must be set with OIDC_ISSUER: the client that you have registered at the provider")
	v.that(o.ClientSecret != "" || o.ClientSecretFile != "", "OIDC_CLIENT_SECRET", "",
		"or OIDC_CLIENT_SECRET_FILE must be set with OIDC_ISSUER: register a confidential client at the provider")
	v.that(strings.TrimSpace(o.OwnerClaim) == o.OwnerClaim, "OIDC_OWNER_CLAIM", o.OwnerClaim, "must be the name of a claim, like sub")
	v.that((o.RoleClaim == "") == (len(o.Roles()) == 0), "OIDC_ROLE_CLAIM", o.RoleClaim, "and OIDC_OPERATOR_ROLES must be set both or not at all")
	if _, err := c.Server.Public(); err == nil {
		v.that(c.SignInOrigin() != "", "OIDC_ISSUER", o.Issuer,
			"needs BERTH_PUBLIC_URL, with https: the provider sends people back there, and browsers keep what they sign in with over https only")
	}
}

// isSafeURL reports whether secrets may be sent to a URL.
func isSafeURL(u *url.URL) bool {
	if u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && loopback(net.JoinHostPort(u.Hostname(), "0"))
}

// changingClaims may change, or be given to another person.
var changingClaims = []string{"email", "preferred_username", "username", "upn", "unique_name", "nickname", "name"}

func (o OIDC) warnings(warn func(weak bool, format string, args ...any)) {
	warn(o.Use() && slices.Contains(changingClaims, o.OwnerClaim),
		"OIDC_OWNER_CLAIM=%s may be given to another person at the provider, who then owns the sessions of the first: use sub", o.OwnerClaim)
	warn(o.Use() && strings.HasPrefix(o.Issuer, "http://"),
		"OIDC_ISSUER is reached without encryption: that is for tests; use a provider with https")
}
