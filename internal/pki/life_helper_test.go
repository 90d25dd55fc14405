package pki

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// crashAtEveryStep runs work once to count its changes on disk, and then once for each of them, ended ahead of it. The
// files must then be usable; a run without a crash must then succeed and leave no temporary files.
func crashAtEveryStep(t *testing.T, atLeast int, prepare func(t *testing.T) string, work func(dir string, before hook) error, check func(t *testing.T, dir, step string)) {
	t.Helper()
	steps := 0
	if err := work(prepare(t), func(string) error { steps++; return nil }); err != nil {
		t.Fatal(err)
	}
	if steps < atLeast {
		t.Fatalf("only %d steps: the hook no longer sees the writes", steps)
	}
	for at := range steps {
		dir, left, step := prepare(t), at, ""
		err := work(dir, func(name string) error {
			if left--; left < 0 {
				step = name
				return errCrash
			}
			return nil
		})
		if err != errCrash { //nolint:errorlint // it must be neither wrapped nor lost
			t.Fatalf("step %d: the run did not stop: %v", at, err)
		}
		usable(t, dir, "after a crash before "+step)
		if err := work(dir, nil); err != nil {
			t.Fatalf("again after a crash before %q: %v", step, err)
		}
		usable(t, dir, "after the recovery from "+step)
		check(t, dir, step)
		for _, debris := range []string{".pending.tmp", ".pending"} {
			if exists(filepath.Join(dir, debris)) {
				t.Errorf("recovery from %q left %s", step, debris)
			}
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), ".") {
				t.Errorf("recovery from %q left %s", step, entry.Name())
			}
		}
	}
}

// usable does a handshake with the files of dir, which both ends load from disk.
func usable(t *testing.T, dir, when string) {
	t.Helper()
	server, _, err := LoadServerTLS(ServerPaths(dir), ServerOptions{})
	if err != nil {
		t.Fatalf("%s: server: %v", when, err)
	}
	client, _, err := LoadClientTLS(ClientPaths(dir, Paths{}), ClientOptions{ServerName: "localhost"})
	if err != nil {
		t.Fatalf("%s: client: %v", when, err)
	}
	if serverErr, clientErr := handshake(t, server, client); serverErr != nil || clientErr != nil {
		t.Errorf("%s: server %v, client %v; want a handshake", when, serverErr, clientErr)
	}
}

func works(t *testing.T, server, client *tls.Config) bool {
	t.Helper()
	serverErr, clientErr := handshake(t, server, client)
	return serverErr == nil && clientErr == nil
}

// issued makes one more client of dir and returns its directory.
func issued(t *testing.T, dir, name string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	if _, err := Issue(dir, IssueOptions{Kind: KindClient, Name: name, Out: out}); err != nil {
		t.Fatal(err)
	}
	return out
}

func described(t *testing.T, path string) Description {
	t.Helper()
	all, err := Describe(path)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}
