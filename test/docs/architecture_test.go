package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the directory of the repository.
const root = "../.."

// quoted matches a path in a page: what has a slash, or ends like a file of Go.
var quoted = regexp.MustCompile("`([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+|[a-z0-9_]+\\.go)`")

// The pages that say where what is name files and directories that exist: from the root of the repository, below internal,
// or, where only a file's name is given, beside the file that was named before it.
func TestPagesNameFilesThatExist(t *testing.T) {
	t.Parallel()
	for page, least := range map[string]int{"CONTRIBUTING.md": 150, "docs/architecture.md": 30} {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		last, named := "", 0
		for _, match := range quoted.FindAllStringSubmatch(string(text), -1) {
			name := match[1]
			if name == "net/http" { // a package of the standard library
				continue
			}
			named++
			bases := []string{root, filepath.Join(root, "internal"), last}
			if !strings.Contains(name, "/") {
				bases = []string{last}
			}
			found := ""
			for _, base := range bases {
				if path := filepath.Join(base, name); found == "" && exists(path) {
					found = path
				}
			}
			if found == "" {
				t.Errorf("%s names %s, which does not exist (looked in %q)", page, name, bases)
			}
			if filepath.Ext(name) != "" {
				last = filepath.Dir(found)
			}
		}
		if named < least {
			t.Errorf("%s names %d files, want at least %d", page, named, least)
		}
	}
}

// The picture in the README contains every part that a newcomer has to know of.
func TestReadmePictureIsComplete(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, picture, _ := strings.Cut(string(text), "## How it fits together")
	picture, _, _ = strings.Cut(picture, "\n- ")
	for _, part := range []string{
		"proxy", "access", "lifecycle", "guard", "store", "failover", "routes", "pushed", "wake", "probes", "events of the engine", "pressure",
	} {
		if !strings.Contains(picture, part) {
			t.Errorf("the picture does not show %q:\n%s", part, picture)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
