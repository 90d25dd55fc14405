package postgrestest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// shared is the server of all tests of a package that need nothing but a database. [Clean] stops it.
var shared struct {
	mu     sync.Mutex
	server *Server
	own    *owner
	count  atomic.Int64
}

// Main runs a package's tests and cleans up after them.
func Main(m *testing.M) int {
	code := m.Run()
	Clean()
	return code
}

// Clean stops the server that the package's tests have shared, and removes the databases that all servers began with. A
// package's TestMain calls it when its tests have ended, unless it uses [Main].
func Clean() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.own != nil {
		shared.own.cleanup()
		shared.server, shared.own = nil, nil
	}
	template.mu.Lock()
	defer template.mu.Unlock()
	if template.dir != "" {
		_ = os.RemoveAll(template.dir)
		template.dir = ""
	}
}

// Database returns the URL of an empty database that no other test uses, on a server that the package's tests share. It
// skips or fails as [Start] does.
func Database(t testing.TB) string {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil {
		if os.Getenv(binVariable) == "" {
			prepare(t) // skips or fails
		}
		own := &owner{TB: t}
		server := prepare(own)
		server.Start()
		own.Cleanup(server.Kill)
		shared.server, shared.own = server, own
	}
	name := fmt.Sprintf("test_%d", shared.count.Add(1))
	cmd := exec.Command(filepath.Join(shared.server.bin, "createdb"), name)
	cmd.Env = []string{
		"PGPASSWORD=" + shared.server.password, "PGHOST=127.0.0.1", "PGUSER=berth", "PGPORT=" + strconv.Itoa(shared.server.port),
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("createdb: %v\n%s", err, strings.TrimSpace(string(out)))
	}
	return shared.server.URL(name)
}

// owner stands for the test program where a single test would be: what is to be cleaned up waits for [Clean].
type owner struct {
	testing.TB
	todo []func()
}

// Cleanup keeps f for the end of the test program.
func (o *owner) Cleanup(f func()) { o.todo = append(o.todo, f) }

func (o *owner) cleanup() {
	for i := len(o.todo) - 1; i >= 0; i-- {
		o.todo[i]()
	}
}
