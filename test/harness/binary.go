package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

const binaryVariable = "BERTH_TEST_BINARY"

// builtIn is the directory that [Main] removes; "" while nothing was built.
var builtIn string

// binary returns the program that BERTH_TEST_BINARY names, and builds it once for all tests of the package where none is named.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(binaryVariable); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "berth-e2e-")
	if err != nil {
		return "", err
	}
	builtIn = dir
	path := filepath.Join(dir, "berth")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "berth/cmd/berth")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build berth: %w\n%s", err, out)
	}
	return path, nil
})

// Main runs a package's tests and removes what they have built. Then it runs the package's other clean-up.
func Main(m *testing.M, then ...func()) int {
	code := m.Run()
	for _, do := range then {
		do()
	}
	if builtIn != "" {
		_ = os.RemoveAll(builtIn)
	}
	return code
}

// Binary returns the path of berth, a file of the name berth. It is built once for all tests of the package, unless
// BERTH_TEST_BINARY names one.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
