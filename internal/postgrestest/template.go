package postgrestest

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// template is a directory of databases that was made by initdb once, of which the package's servers get copies: initdb
// takes seconds. All of them have its password and, unlike those of [Server.Another], its system identifier. [Clean]
// removes it.
var template struct {
	mu       sync.Mutex
	dir      string // "" while there is none
	password string
}

// copyTemplate gives the server its databases and its password.
func (s *Server) copyTemplate() {
	s.t.Helper()
	template.mu.Lock()
	defer template.mu.Unlock()
	if template.dir == "" {
		first := newServer(s.t, s.bin)
		first.password = rand.Text()
		first.initialize(first.data())
		template.dir, template.password = first.dir, first.password
	}
	s.password = template.password
	cmd := exec.Command("cp", "-a", filepath.Join(template.dir, "data"), s.data())
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("copy the databases: %v\n%s", err, out)
	}
}

// initialize makes empty databases with the server's password in a directory that is not there.
func (s *Server) initialize(data string) {
	s.t.Helper()
	secret := filepath.Join(s.dir, "password")
	must(s.t, os.WriteFile(secret, []byte(s.password+"\n"), 0o600))
	if s.owner != nil {
		must(s.t, os.Chown(secret, int(s.owner.Uid), int(s.owner.Gid)))
	}
	// A small segment of the log is copied soon.
	cmd := s.command("initdb", "--pgdata", data, "--username", "berth", "--pwfile", secret, "--auth", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C", "--no-sync", "--wal-segsize", "1")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("initdb: %v\n%s", err, out)
	}
}
