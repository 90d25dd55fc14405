// Package contract_test shows every promise of docs/contract.md on the real binary.
package contract_test

import (
	"os"
	"testing"

	"berth/internal/postgrestest"
	"berth/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m, postgrestest.Clean)) }
