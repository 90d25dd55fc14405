package access

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"berth/internal/session"
)

// PersonLife is how long a person who has signed in stays so in a browser, at Berth's own origin.
const PersonLife = 8 * time.Hour

// mostEnded bounds the sign-ins that are remembered as ended. Each has cost its person a sign-in at the provider.
const mostEnded = 1024

// personSignIns are the sign-ins of people at Berth's own origin. A sign-in is kept in its browser, authenticated, so that every instance
// knows it and none has to remember it; what this process remembers are those that have been ended before their time.
type personSignIns struct {
	keys     Keys
	provider string
	now      func() time.Time

	mu    sync.Mutex
	ended map[string]time.Time // by ID, until they would have expired
	used  map[string]*personUse
}

// personUse are the requests in progress of one sign-in.
type personUse struct {
	valid    context.Context //nolint:containedctx // not of a call: it ends with the sign-in
	end      context.CancelCauseFunc
	requests int
}

func newPersonSignIns(keys Keys, provider string, now func() time.Time) *personSignIns {
	return &personSignIns{keys: keys, provider: provider, now: now, ended: map[string]time.Time{}, used: map[string]*personUse{}}
}

// personRecord is what a browser keeps.
type personRecord struct {
	ID       string    `json:"i"`
	Owner    string    `json:"o,omitempty"`
	Operator bool      `json:"p,omitempty"`
	Name     string    `json:"n,omitempty"`
	AuthTime time.Time `json:"a,omitzero"`
	Expires  time.Time `json:"e"`
}

// mac authenticates a record. It is another one where the provider or what it says is another.
func (s *personSignIns) mac(text string) []byte { return s.keys.mac("person", s.provider+"\x00"+text) }

// NewPersonSignIn returns what the browser of a person who has signed in keeps, and until when it is valid.
func (a *Authority) NewPersonSignIn(p Principal) (value session.Secret, until time.Time) {
	s := a.persons
	r := personRecord{
		ID: NewToken(codeLength).Reveal(), Owner: p.Owner, Operator: p.Kind == Operator, Name: p.Name, AuthTime: p.AuthTime,
		Expires: s.now().Add(PersonLife).UTC().Truncate(time.Second),
	}
	text, _ := json.Marshal(r) // texts and times: never fails
	encoded := base64.RawURLEncoding.EncodeToString(text)
	return session.Secret(encoded + "." + base64.RawURLEncoding.EncodeToString(s.mac(encoded))), r.Expires
}

// maxPerson is above the longest value: browsers keep no more.
const maxPerson = 4096

// read returns the record of a value that was made here or by another instance, whether or not it is valid still.
func (s *personSignIns) read(value session.Secret) (r personRecord, ok bool) {
	encoded, mac, found := strings.Cut(value.Reveal(), ".")
	if !found || len(value) > maxPerson {
		return r, false
	}
	given, err := base64.RawURLEncoding.DecodeString(mac)
	if err != nil || !hmac.Equal(given, s.mac(encoded)) {
		return r, false
	}
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	return r, err == nil && json.Unmarshal(text, &r) == nil
}

// verify returns the principal of a value. It is false for one that is not valid.
func (s *personSignIns) verify(value session.Secret) (Principal, bool) {
	r, ok := s.read(value)
	if !ok || !session.Unexpired(r.Expires, s.now()) {
		return Principal{}, false
	}
	s.mu.Lock()
	_, ended := s.ended[r.ID]
	s.mu.Unlock()
	if ended {
		return Principal{}, false
	}
	p := Principal{Kind: Owner, Owner: r.Owner, Name: r.Name, AuthTime: r.AuthTime, Until: r.Expires, person: r.ID}
	if r.Operator {
		p.Kind = Operator
	}
	return p, true
}

// PersonSignedIn returns the person whose browser keeps this value. It is false for a value that is not valid.
func (a *Authority) PersonSignedIn(value session.Secret) (Principal, bool) {
	return a.persons.verify(value)
}

// errPersonOut is the cause with which requests end when their person signs out.
var errPersonOut = session.Errorf(session.CodeUnauthorized, "this browser's sign-in has ended; sign in again")

// EndPersonSignIn signs a browser out. Requests that it has in progress end, and a copy of the value is not valid here any more.
func (a *Authority) EndPersonSignIn(value session.Secret) {
	s := a.persons
	r, ok := s.read(value)
	if !ok || !session.Unexpired(r.Expires, s.now()) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	s.ended[r.ID] = r.Expires
	if u := s.used[r.ID]; u != nil {
		u.end(errPersonOut)
	}
}

// forget makes room for one more ended sign-in. The caller holds mu.
func (s *personSignIns) forget() {
	if len(s.ended) < mostEnded {
		return
	}
	now, first := s.now(), ""
	for id, expires := range s.ended {
		if !session.Unexpired(expires, now) {
			delete(s.ended, id)
		} else if first == "" || expires.Before(s.ended[first]) {
			first = id
		}
	}
	if len(s.ended) >= mostEnded {
		delete(s.ended, first)
	}
}

// use returns a context that ends when the sign-in is ended. The caller calls done when its request has ended.
func (s *personSignIns) use(id string) (valid context.Context, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.used[id]
	if u == nil {
		u = &personUse{}
		u.valid, u.end = context.WithCancelCause(context.Background())
		s.used[id] = u
	}
	if _, ended := s.ended[id]; ended { // since the request was admitted
		u.end(errPersonOut)
	}
	u.requests++
	return u.valid, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if u.requests--; u.requests == 0 {
			u.end(context.Canceled)
			delete(s.used, id)
		}
	}
}
