package oidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"berth/internal/session"
)

const clientID = "berth"

// issuer is a scripted provider that has discovery and keys only. What a whole one does is shown with a real one.
type issuer struct {
	t testing.TB
	*httptest.Server

	mu         sync.Mutex
	keys       []jose.JSONWebKey // private; the first one signs
	discovery  map[string]any    // overrides members of the document; nil removes one
	down       bool              // every request is answered with 502
	hang       chan struct{}     // requests wait until it is closed; nil: they do not
	keySet     []byte            // instead of the keys
	discovered int               // requests for the document
	fetched    int               // requests for the keys
	scripted   map[string][]byte // answers of other endpoints, by path
	clock      time.Time         // the client's, which stands still
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{t: t, keys: []jose.JSONWebKey{newKey(t, "first")}, clock: time.Now()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.answer(&i.discovered, i.document))
	mux.HandleFunc("GET /keys", i.answer(&i.fetched, i.public))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(i.scripted[r.URL.Path])
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func newKey(t testing.TB, id string) jose.JSONWebKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(jose.ES256), Use: "sig"}
}

// answer counts a request and answers it as scripted.
func (i *issuer) answer(count *int, body func() []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		*count++
		hang, down := i.hang, i.down
		i.mu.Unlock()
		if hang != nil {
			select {
			case <-hang:
			case <-r.Context().Done():
				return
			}
		}
		if down {
			http.Error(w, "no upstream", http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		i.mu.Lock()
		defer i.mu.Unlock()
		_, _ = w.Write(body())
	}
}

func (i *issuer) document() []byte {
	document := map[string]any{
		"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
		"id_token_signing_alg_values_supported": []string{"none", "HS256", "RS256", "ES256"},
	}
	maps.Copy(document, i.discovery)
	maps.DeleteFunc(document, func(_ string, value any) bool { return value == nil })
	return encoded(document)
}

func (i *issuer) public() []byte {
	if i.keySet != nil {
		return i.keySet
	}
	var set jose.JSONWebKeySet
	for _, key := range i.keys {
		set.Keys = append(set.Keys, key.Public())
	}
	return encoded(set)
}

// set changes the script.
func (i *issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

// script sets the answer of an endpoint.
func (i *issuer) script(path string, answer any) {
	i.set(func() {
		if i.scripted == nil {
			i.scripted = map[string][]byte{}
		}
		i.scripted[path] = encoded(answer)
	})
}

func (i *issuer) requests() (discovered, fetched int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.discovered, i.fetched
}

// now is the client's clock.
func (i *issuer) now() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.clock
}

// pass lets time pass for the client.
func (i *issuer) pass(d time.Duration) { i.set(func() { i.clock = i.clock.Add(d) }) }

// client is one of this provider. change may be nil.
func (i *issuer) client(change func(*Options)) *Client {
	i.t.Helper()
	o := Options{Issuer: i.URL, ClientID: clientID, Now: i.now}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		i.t.Fatal(err)
	}
	return c
}

// claims are those of a valid token, with these instead or in addition; nil removes one.
func (i *issuer) claims(change claims) claims {
	now := i.now()
	all := claims{
		"iss": i.URL, "aud": clientID, "sub": "ann", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	maps.Copy(all, change)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

// token is signed with the first key.
func (i *issuer) token(change claims) session.Secret {
	i.t.Helper()
	i.mu.Lock()
	key := i.keys[0]
	i.mu.Unlock()
	return sign(i.t, jose.SignatureAlgorithm(key.Algorithm), key, "JWT", i.claims(change))
}

func sign(t testing.TB, a jose.SignatureAlgorithm, key any, typ string, c claims) session.Secret {
	t.Helper()
	o := (&jose.SignerOptions{}).WithType(jose.ContentType(typ))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: a, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(encoded(c))
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return session.Secret(text)
}

// unsigned has the algorithm "none", and a signature that says nothing.
func unsigned(algorithm string, c claims) session.Secret {
	encode := base64.RawURLEncoding.EncodeToString
	head := fmt.Sprintf(`{"alg":%q,"typ":"JWT"}`, algorithm)
	return session.Secret(encode([]byte(head)) + "." + encode(encoded(c)) + "." + encode([]byte("signature")))
}

// publicBytes is a public key as somebody may use it for the secret of an HMAC.
func publicBytes(key crypto.PublicKey) []byte {
	return encoded(jose.JSONWebKey{Key: key})
}

func encoded(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // a mistake in the test
	}
	return text
}
