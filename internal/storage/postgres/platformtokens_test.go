package postgres_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/internal/access"
	"berth/internal/postgrestest"
	"berth/internal/session"
	"berth/internal/storetest"
)

func TestTokenSuite(t *testing.T) {
	t.Parallel()
	storetest.RunTokens(t, func(t *testing.T) access.TokenStore { return open(t, postgrestest.Database(t)) })
}

func TestTokenSuiteBehindTransactionPooler(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	pooler := postgrestest.StartPooler(t, server, "transaction")
	storetest.RunTokens(t, func(t *testing.T) access.TokenStore {
		name := strings.ToLower("t" + string(session.NewID())[4:])
		server.Run("createdb", name)
		return open(t, pooler.URL(name)+"&default_query_exec_mode=simple_protocol")
	})
}

// Another process is notified of a token that was created or revoked.
func TestTokenChangesAreNotified(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	here, there := open(t, url), open(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	listening := make(chan struct{}, 10)
	watch.Go(func() { _ = there.Watch(ctx, func() { listening <- struct{}{} }, func(session.ID) {}) })
	defer watch.Wait()
	defer cancel()
	<-listening
	<-there.PlatformTokensChanged() // may have missed some before
	token := access.PlatformToken{
		ID: access.NewTokenID(), Name: "ci", Scopes: access.ScopeRead, Digest: strings.Repeat("a", 64), CreatedAt: time.Now(), CreatedBy: "operator",
	}
	if err := here.CreatePlatformToken(t.Context(), token, 10); err != nil {
		t.Fatal(err)
	}
	<-there.PlatformTokensChanged()
	if err := here.DeletePlatformToken(t.Context(), token.ID); err != nil {
		t.Fatal(err)
	}
	<-there.PlatformTokensChanged()
}
