package contract_test

import (
	"os/exec"
	"strings"
	"testing"
)

// areas are the make targets that stand for the test programs of before.
var areas = map[string][]string{
	"C-CMD-04": {"docker"},
	"C-CMD-05": {"hostip", "integration"},
	"C-CMD-06": {"logging", "database", "health", "auth", "pool", "resources"},
}

// areaRuns shows that "make test-…" goes through tests that are there, without running them a second time.
func areaRuns(id string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		for _, area := range areas[id] {
			out, err := exec.CommandContext(t.Context(), "make", "-s", "-C", "../..", "-n", "test-"+area).CombinedOutput()
			words := strings.Fields(string(out))
			if err != nil || len(words) == 0 {
				t.Errorf("make test-%s: %v\n%s", area, err, out)
				continue
			}
			packages := 0
			for _, word := range words {
				if !strings.HasPrefix(word, "./") {
					continue
				}
				packages++
				list := exec.CommandContext(t.Context(), "go", "list", "-f", "{{len .TestGoFiles}}{{len .XTestGoFiles}}", word)
				list.Dir = "../.."
				if files, err := list.CombinedOutput(); err != nil || strings.Trim(string(files), "0\n") == "" {
					t.Errorf("make test-%s: %s has no tests: %v\n%s", area, word, err, files)
				}
			}
			if packages == 0 {
				t.Errorf("make test-%s names no package:\n%s", area, out)
			}
		}
	}
}
