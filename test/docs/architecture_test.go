package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The map names files that are there.
func TestArchitectureNamesFilesThatExist(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	last, named := "", 0 // a file without a package is of the package named before
	for _, name := range regexp.MustCompile("`([a-z/]+(?:_test)?(?:\\.go)?)`").FindAllStringSubmatch(string(page), -1) {
		path := filepath.Join("../../internal", name[1])
		if filepath.Dir(name[1]) == "." && filepath.Ext(name[1]) == ".go" {
			path = filepath.Join(last, name[1])
		}
		if filepath.Ext(path) != ".go" {
			continue
		}
		last = filepath.Dir(path)
		if named++; !exists(path) && !exists(filepath.Join("../..", name[1])) {
			t.Errorf("%s is named and not there (looked for %s)", name[1], path)
		}
	}
	if named < 20 {
		t.Errorf("only %d files are named", named)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
