package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"sync"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// store is the example's, with signed access tokens, roles, and keys that can be replaced.
type store struct {
	*storage.Storage

	mu   sync.Mutex
	keys []key // the last one signs
}

func newStore(clients map[string]*storage.Client) (*store, error) {
	s := &store{Storage: storage.NewStorageWithClients(users{}, clients)}
	return s, s.rotate(true)
}

// rotate makes a new key.
func (s *store) rotate(withdraw bool) error {
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if withdraw {
		s.keys = nil
	}
	s.keys = append(s.keys, key{fmt.Sprintf("key-%x", made.X.Bytes()[:4]), made})
	return nil
}

type key struct {
	id      string
	private *ecdsa.PrivateKey
}

func (k key) ID() string                                  { return k.id }
func (k key) Key() any                                    { return k.private }
func (k key) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.ES256 }

type publicKey struct{ key }

func (k publicKey) Key() any                           { return &k.private.PublicKey }
func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.ES256 }
func (k publicKey) Use() string                        { return "sig" }

func (s *store) SigningKey(context.Context) (op.SigningKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[len(s.keys)-1], nil
}

func (s *store) KeySet(context.Context) ([]op.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []op.Key
	for _, k := range s.keys {
		all = append(all, publicKey{k})
	}
	return all, nil
}

func (s *store) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{jose.ES256}, nil
}

// client has signed access tokens.
type client struct{ op.Client }

func (client) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

func (s *store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	found, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return client{found}, nil
}

// users are ann, who is an admin, and bob.
type users struct{}

func (users) GetUserByID(id string) *storage.User {
	switch id {
	case "sub-ann":
		return &storage.User{ID: id, Username: "ann", Password: "secret", Email: "ann@example.com", EmailVerified: true, IsAdmin: true}
	case "sub-bob":
		return &storage.User{ID: id, Username: "bob", Password: "secret", Email: "bob@example.com"}
	default:
		return nil
	}
}

func (u users) GetUserByUsername(name string) *storage.User { return u.GetUserByID("sub-" + name) }
func (users) ExampleClientID() string                       { return storage.ServiceUserID }

// roles are in the access token and in the answer about the user, not in the ID token.
func roles(user string) map[string]any {
	all := []string{"developer"}
	if found := (users{}).GetUserByID(user); found != nil && found.IsAdmin {
		all = append(all, "admin")
	}
	return map[string]any{"roles": all}
}

func (s *store) GetPrivateClaimsFromScopes(_ context.Context, user, _ string, _ []string) (map[string]any, error) {
	return map[string]any{"access": roles(user)}, nil
}

func (s *store) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	info.AppendClaims("access", roles(subject))
	return s.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin)
}
