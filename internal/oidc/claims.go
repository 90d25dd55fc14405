package oidc

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"berth/internal/session"
)

// leeway is how far the provider's clock and this one may differ.
const leeway = 30 * time.Second

// Identity is whom the provider vouches for.
type Identity struct {
	Owner    string    // of sessions; never empty
	Operator bool      // whether one of the roles makes an operator
	Subject  string    // the provider's name for the person, which it never reassigns
	Name     string    // to show: one short line; may be empty, and anything
	SignedIn time.Time // when the person has signed in at the provider; zero: it does not say
	Expires  time.Time // of the token, with some leeway; after it nothing may be done in the person's name
}

// claims are those of a verified token.
type claims map[string]any

// text is a claim that is a string; empty for any other.
func (c claims) text(name string) string {
	value, _ := c[name].(string)
	return value
}

// find returns a claim by its name, or by its path through nested objects, with dots between the names.
func (c claims) find(path string) any {
	if value, ok := c[path]; ok {
		return value
	}
	var value any = map[string]any(c)
	for name := range strings.SplitSeq(path, ".") {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[name]
	}
	return value
}

// time is a claim that is a number of seconds since 1970; false for any other. Numbers beyond the year 9999 are that year's.
func (c claims) time(name string) (time.Time, bool) {
	const last = 253402300799
	seconds, ok := c[name].(float64)
	if !ok || seconds < 0 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(min(seconds, last) * 1000)).UTC(), true
}

// checkTimes returns an error unless the token has an end and is valid now.
func (c claims) checkTimes(now time.Time) error {
	expires, ok := c.time("exp")
	if !ok {
		return invalid("it has no time of expiry")
	}
	if _, given := c["nbf"]; given {
		if from, ok := c.time("nbf"); !ok || now.Add(leeway).Before(from) {
			return invalid("it is not valid yet")
		}
	}
	if !now.Before(expires.Add(leeway)) {
		return ErrExpired
	}
	return nil
}

// identify reads the identity that claims describe.
func (c *Client) identify(found claims) (Identity, error) {
	expires, _ := found.time("exp")
	signedIn, _ := found.time("auth_time")
	id := Identity{
		Subject: found.text("sub"), SignedIn: signedIn, Expires: expires.Add(leeway),
		Name: plain(firstText(found, "preferred_username", "email", "name")),
	}
	if id.Subject == "" {
		return Identity{}, invalid("it has no subject")
	}
	owner, ok := found.find(c.opts.OwnerClaim).(string)
	switch {
	case !ok || strings.TrimSpace(owner) == "":
		return Identity{}, invalid("its claim %q, which names the owner, is missing or is no text", c.opts.OwnerClaim)
	case c.opts.OwnerClaim == "email" && !isTrue(found["email_verified"]):
		return Identity{}, invalid("its email address is not verified, and so cannot name the owner")
	}
	if err := session.CheckText("owner", owner); err != nil {
		return Identity{}, invalid("its claim %q cannot be an owner: %s", c.opts.OwnerClaim, session.MessageOf(err))
	}
	id.Owner = owner
	id.Operator = c.isOperator(found)
	return id, nil
}

// isOperator reports whether one of the roles makes an operator.
func (c *Client) isOperator(found claims) bool {
	if c.opts.RoleClaim == "" {
		return false
	}
	isOne := func(value any) bool {
		role, ok := value.(string)
		return ok && slices.Contains(c.opts.OperatorRoles, role)
	}
	value := found.find(c.opts.RoleClaim)
	if all, ok := value.([]any); ok {
		return slices.ContainsFunc(all, isOne)
	}
	return isOne(value)
}

func firstText(found claims, names ...string) string {
	for _, name := range names {
		if text := found.text(name); text != "" {
			return text
		}
	}
	return ""
}

// isTrue reads a boolean, which some providers send as text.
func isTrue(value any) bool {
	yes, _ := value.(bool)
	return yes || value == "true"
}

// with returns the claims with those that are missing taken from more.
func (c claims) with(more claims) claims {
	all := maps.Clone(more)
	maps.Copy(all, c)
	return all
}

// checkType returns an error for a token that says of itself to be of another kind than ID and access tokens: RFC 8725,
// section 3.11.
func checkType(raw string) error {
	head, _, _ := strings.Cut(raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		return invalid("its header cannot be read")
	}
	var header struct {
		Type string `json:"typ"`
	}
	if err := json.Unmarshal(text, &header); err != nil {
		return invalid("its header cannot be read")
	}
	switch strings.TrimPrefix(strings.ToLower(header.Type), "application/") {
	case "", "jwt", "at+jwt":
		return nil
	default:
		return invalid("it is of another type")
	}
}
