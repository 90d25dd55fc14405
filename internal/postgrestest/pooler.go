package postgrestest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"berth/internal/porttest"
)

const poolerVariable = "BERTH_TEST_PGBOUNCER"

// Pooler is a PgBouncer before a server.
type Pooler struct {
	server *Server
	port   int
}

// StartPooler starts a PgBouncer in a pool mode ("transaction", "session") before a server, and stops it when the test
// ends. It skips or fails the test as [Start] does.
func StartPooler(t testing.TB, server *Server, mode string) *Pooler {
	t.Helper()
	program := os.Getenv(poolerVariable)
	if program == "" {
		const why = "needs PgBouncer: set " + poolerVariable + " to its path"
		if os.Getenv(requireVariable) == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	p := &Pooler{server: server, port: porttest.Free(t)}
	dir := filepath.Join(server.dir, "pgbouncer-"+mode)
	must(t, os.Mkdir(dir, 0o700))
	users, settings := filepath.Join(dir, "users"), filepath.Join(dir, "pgbouncer.ini")
	must(t, os.WriteFile(users, fmt.Appendf(nil, "\"berth\" %q\n", server.password), 0o600))
	must(t, os.WriteFile(settings, fmt.Appendf(nil, `[databases]
* = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = plain
auth_file = %s
pool_mode = %s
max_client_conn = 200
default_pool_size = 20
`, server.port, p.port, users, mode), 0o600))
	if server.owner != nil {
		for _, path := range []string{dir, users, settings} {
			must(t, os.Chown(path, int(server.owner.Uid), int(server.owner.Gid)))
		}
	}
	p.start(t, program, dir, settings)
	return p
}

func (p *Pooler) start(t testing.TB, program, dir, settings string) {
	t.Helper()
	path := filepath.Join(dir, "log")
	log, err := os.Create(path)
	must(t, err)
	defer log.Close()
	cmd := exec.Command(program, settings)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.server.owner, Pdeathsig: syscall.SIGKILL}
	begun, done := make(chan error), make(chan struct{})
	go func() {
		// The kernel sends Pdeathsig when the thread that has started the process ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		begun <- err
		if err == nil {
			_ = cmd.Wait()
			close(done)
		}
	}()
	must(t, <-begun)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-done:
			text, _ := os.ReadFile(path)
			t.Fatalf("pgbouncer has ended:\n%s", text)
		default:
		}
		if conn, err := net.Dial("tcp", p.Address()); err == nil {
			_ = conn.Close()
			return
		}
	}
	t.Fatalf("pgbouncer does not answer within %s", startTimeout)
}

// Address is where it listens.
func (p *Pooler) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

// URL names a database of the server through the pooler.
func (p *Pooler) URL(database string) string {
	return fmt.Sprintf("postgres://berth:%s@%s/%s?sslmode=disable", p.server.password, p.Address(), database)
}
