package jsonfile

import (
	"path/filepath"
	"testing"

	"berth/internal/storetest"
	"berth/internal/usage"
)

func openUsage(t *testing.T, dir string, opts UsageOptions) *Usage {
	t.Helper()
	s, err := OpenUsage(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestUsageSuite(t *testing.T) {
	t.Parallel()
	storetest.RunUsage(t, func(t *testing.T) usage.Store {
		return openUsage(t, filepath.Join(t.TempDir(), "usage"), UsageOptions{})
	})
}
