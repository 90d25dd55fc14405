package app_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rank orders the packages from the inside out. A package may import those of a lower rank only; adapters therefore
// never import each other.
var rank = map[string]int{
	"berth/internal/devicetest": 0,
	"berth/internal/engineaddr": 0,
	"berth/internal/fileowner":  0,
	"berth/internal/inflight":   0,
	"berth/internal/modeltest":  0,
	"berth/internal/pin":        0,
	"berth/internal/pipenet":    0,
	"berth/internal/session":    0,
	"berth/internal/waittest":   0,

	"berth/internal/access":         1,
	"berth/internal/atomicfile":     1,
	"berth/internal/gateway/egress": 1,
	"berth/internal/gateway/git":    1,
	"berth/internal/lifecycle":      1,
	"berth/internal/origin":         1,
	"berth/internal/oidc":           1,
	"berth/internal/outcome":        1,
	"berth/internal/storage/record": 1,
	"berth/internal/telemetry":      1,
	"berth/internal/usage":          1,

	"berth/internal/config":           2,
	"berth/internal/docker":           2,
	"berth/internal/fileset":          2,
	"berth/internal/gateway/model":    2,
	"berth/internal/guard":            2,
	"berth/internal/hostip":           2,
	"berth/internal/httpapi":          2,
	"berth/internal/porttest":         2,
	"berth/internal/chromiumtest":     2,
	"berth/internal/pressure":         2,
	"berth/internal/probe":            2,
	"berth/internal/process":          2,
	"berth/internal/proxy/asset":      2,
	"berth/internal/proxy/policy":     2,
	"berth/internal/runtimetest":      2,
	"berth/internal/storage/failover": 2,
	"berth/internal/storage/jsonfile": 2,
	"berth/internal/storage/postgres": 2,
	"berth/internal/storetest":        2,
	"berth/internal/webhook":          2,
	"berth/internal/workspace":        2,

	"berth/internal/config/gen":   3,
	"berth/internal/dockerd":      3,
	"berth/internal/dockertest":   3,
	"berth/internal/oidctest":     3,
	"berth/internal/pki":          3,
	"berth/internal/postgrestest": 3,
	"berth/internal/proxy":        3,
	"berth/internal/server":       3,
	"berth/internal/gateway":      3,
	"berth/internal/sessionport":  2,
	"berth/internal/sessiontest":  3,
	"berth/internal/storage":      3,

	"berth/internal/doctor/connection": 4,
	"berth/internal/guardtest":         4,
	"berth/internal/health":            4,
	"berth/internal/metrics":           4,
	"berth/internal/acme":              4,
	"berth/internal/servertls":         4,
	"berth/internal/tlstest":           4,

	"berth/internal/doctor":     5,
	"berth/internal/pebbletest": 5,

	"berth/internal/app": 6,

	"berth/cmd/berth":       7,
	"berth/test/stubserver": 7,
}

// tests are packages of tests only: they may import any package, and no package may import them.
func isTests(pkg string) bool {
	return strings.HasPrefix(pkg, "berth/test") || strings.HasPrefix(pkg, "berth/bench")
}

func TestImportsPointInward(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "berth/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		own, ranked := rank[p.ImportPath]
		if !ranked && !isTests(p.ImportPath) {
			t.Errorf("%s has no rank: add it to the table", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, "berth/") {
				if own == 0 && ranked && strings.Contains(imported, ".") {
					t.Errorf("%s imports %s: the domain imports the standard library only", p.ImportPath, imported)
				}
				continue
			}
			if other, ok := rank[imported]; ranked && (!ok || other >= own) {
				t.Errorf("%s (rank %d) imports %s (rank %d): imports point inward", p.ImportPath, own, imported, other)
			}
		}
	}
	if seen < len(rank) {
		t.Errorf("go list saw %d packages, %d have a rank: remove those that are gone", seen, len(rank))
	}
}

// pure are packages whose rules do not depend on a protocol's implementation.
var pure = []string{"berth/internal/access", "berth/internal/proxy/policy"}

func TestPureRulesDoNotDependOnNetHTTP(t *testing.T) {
	t.Parallel()
	for _, pkg := range pure {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg).Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if slices.Contains(strings.Fields(string(out)), "net/http") {
			t.Errorf("%s depends on net/http", pkg)
		}
	}
}
