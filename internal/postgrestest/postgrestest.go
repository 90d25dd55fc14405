// Package postgrestest runs a real PostgreSQL server for tests, in a temporary directory and on a separate port.
//
// It installs nothing: BERTH_TEST_POSTGRES_BIN names the directory of initdb and postgres.
package postgrestest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"berth/internal/porttest"
)

const (
	binVariable     = "BERTH_TEST_POSTGRES_BIN"
	requireVariable = "BERTH_TEST_REQUIRE"

	startTimeout = 60 * time.Second
)

// Server is a PostgreSQL server with a superuser "berth".
type Server struct {
	t        testing.TB
	bin, dir string
	port     int
	password string
	owner    *syscall.Credential // nil: this process's own user

	mu      sync.Mutex
	process *exec.Cmd
	done    chan struct{} // closed when process has ended
}

// Start starts a server and stops it when the test ends. It skips the test when [Available] says no, and fails it instead
// when BERTH_TEST_REQUIRE=1.
func Start(t testing.TB) *Server {
	t.Helper()
	s := prepare(t)
	s.Start()
	t.Cleanup(s.Kill)
	return s
}

// prepare makes the directory of a server, with a password that is asked of everybody.
func prepare(t testing.TB) *Server {
	t.Helper()
	bin := os.Getenv(binVariable)
	if bin == "" {
		const why = "needs PostgreSQL: set " + binVariable + " to the directory that initdb is in"
		if os.Getenv(requireVariable) == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	s := newServer(t, bin)
	t.Cleanup(func() { _ = os.RemoveAll(s.dir) })
	s.copyTemplate()
	s.port = porttest.Free(t)
	return s
}

// newServer makes an empty directory that belongs to the user that the server runs as.
func newServer(t testing.TB, bin string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "berth-postgres-") //nolint:usetesting // the parents of t.TempDir are closed to the server's user
	must(t, err)
	s := &Server{t: t, bin: bin, dir: dir, owner: unprivileged(t)}
	if s.owner != nil {
		must(t, os.Chown(dir, int(s.owner.Uid), int(s.owner.Gid)))
	}
	return s
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	return cmd
}

// Start starts the server, after [Server.Stop] or [Server.Kill], and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(s.t, err)
	defer log.Close()
	cmd := s.command("postgres", "-D", s.data(), "-c", "listen_addresses=127.0.0.1", "-c", "port="+strconv.Itoa(s.port),
		"-c", "unix_socket_directories=", "-c", "shared_buffers=64MB", "-c", "max_connections=100", "-c", "log_checkpoints=off",
		"-c", "fsync=off") // servers are killed, and the machine is not
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
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
	must(s.t, <-begun)
	s.mu.Lock()
	s.process, s.done = cmd, done
	s.mu.Unlock()
	s.await(done)
}

// await waits until the server answers a client.
func (s *Server) await(done <-chan struct{}) {
	s.t.Helper()
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		select {
		case <-done:
			text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.t.Fatalf("postgres has ended:\n%s", text)
		default:
		}
		if s.command("pg_isready", "--quiet", "--host", "127.0.0.1", "--port", strconv.Itoa(s.port)).Run() == nil {
			return
		}
	}
	s.t.Fatalf("postgres does not answer within %s", startTimeout)
}

// Stop closes all connections and stops the server gracefully.
func (s *Server) Stop() { s.end(syscall.SIGINT) }

// Kill stops the server as a crash does: without a checkpoint.
func (s *Server) Kill() { s.end(syscall.SIGQUIT) }

func (s *Server) end(how syscall.Signal) {
	s.mu.Lock()
	cmd, done := s.process, s.done
	s.process = nil
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(how)
	select {
	case <-done:
	case <-time.After(startTimeout):
		_ = cmd.Process.Kill()
		<-done
	}
}

// Data is the directory that the server's databases are in. While it is stopped, they may be exchanged for others.
func (s *Server) Data() string { return s.data() }

// Another makes a new, empty server's databases in a directory that is not there.
func (s *Server) Another(data string) {
	s.t.Helper()
	s.initialize(data)
}

// Address is where the server listens.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Password is the superuser's.
func (s *Server) Password() string { return s.password }

// URL names a database of the server, with the superuser's password.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://berth:%s@%s/%s?sslmode=disable", s.password, s.Address(), database)
}

// Run runs one of PostgreSQL's client programs against a database of the server and returns what it wrote.
func (s *Server) Run(program string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PGPASSWORD=" + s.password, "PGHOST=127.0.0.1", "PGPORT=" + strconv.Itoa(s.port), "PGUSER=berth"}
	out, err := cmd.Output()
	if err != nil {
		exit := &exec.ExitError{}
		errors.As(err, &exit)
		s.t.Fatalf("%s: %v\n%s", program, err, exit.Stderr)
	}
	return string(out)
}

// unprivileged is the user that the server runs as where this process is root, which it refuses. It is nobody where
// Debian's user is missing.
func unprivileged(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		must(t, errors.Join(errUID, errGID))
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	t.Fatal("no user to run PostgreSQL as: neither postgres nor nobody")
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
