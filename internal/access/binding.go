package access

import "berth/internal/session"

// NewBinding makes what binds the sign-in of a person to the browser that has begun it: the value stays in the browser, the digest
// goes the way over the identity provider and is recorded with the link that comes back.
func (a *Authority) NewBinding() (value session.Secret, digest string) {
	value = NewToken(codeLength)
	return value, a.Keys.BindingDigest(value)
}

// BindingDigest returns what is stored of the value of a binding.
func (k Keys) BindingDigest(value session.Secret) string { return k.digest("binding", value) }
