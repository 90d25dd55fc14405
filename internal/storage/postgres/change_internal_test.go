package postgres

import (
	"strings"
	"testing"
)

// PostgreSQL uses a partial index only for queries that have its condition.
func TestOccupyingIndexMatchesQueryCondition(t *testing.T) {
	t.Parallel()
	text, err := migrations.ReadFile("migrations/00006_occupied.sql")
	if err != nil {
		t.Fatal(err)
	}
	if condition := strings.Trim(occupying, "()") + ");"; !strings.Contains(string(text), condition) {
		t.Errorf("the index has not the condition %q; add one that has it in a new migration", condition)
	}
}
