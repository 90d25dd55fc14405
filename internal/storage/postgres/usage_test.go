package postgres_test

import (
	"strings"
	"testing"

	"berth/internal/postgrestest"
	"berth/internal/session"
	"berth/internal/storetest"
	"berth/internal/usage"
)

func TestUsageSuite(t *testing.T) {
	t.Parallel()
	storetest.RunUsage(t, func(t *testing.T) usage.Store { return open(t, postgrestest.Database(t)).Usage() })
}

func TestUsageSuiteBehindTransactionPooler(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	pooler := postgrestest.StartPooler(t, server, "transaction")
	storetest.RunUsage(t, func(t *testing.T) usage.Store {
		name := strings.ToLower("t" + string(session.NewID())[4:])
		server.Run("createdb", name)
		return open(t, pooler.URL(name)+"&default_query_exec_mode=simple_protocol").Usage()
	})
}
