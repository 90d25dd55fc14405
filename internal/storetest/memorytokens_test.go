package storetest_test

import (
	"testing"

	"berth/internal/access"
	"berth/internal/storetest"
)

func TestMemoryTokensPassTheSuite(t *testing.T) {
	t.Parallel()
	storetest.RunTokens(t, func(*testing.T) access.TokenStore { return &storetest.MemoryTokens{} })
}
