package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/fileset"
)

func TestInitMakesCompleteSetWithStrictModes(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{Hosts: []string{"engine.example", "192.0.2.7", "LOCALHOST"}})
	got := map[string]fs.FileMode{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		got[entry.Name()] = info.Mode()
	}
	want := map[string]fs.FileMode{
		CACertFile: 0o444, ServerCertFile: 0o444, ClientCertFile: 0o444,
		CRLFile: 0o444, recordsFile: 0o444, CAKeyFile: 0o400, ServerKeyFile: 0o400, ClientKeyFile: 0o400,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files and modes (-want +got): %s", diff)
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("directory has mode %o, want 0700", info.Mode().Perm())
	}
	server, err := Describe(filepath.Join(dir, ServerCertFile))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"engine.example", "localhost", "host.docker.internal"}, server[0].DNSNames); diff != "" {
		t.Errorf("server's names (-want +got): %s", diff)
	}
	if diff := cmp.Diff([]string{"192.0.2.7", "127.0.0.1", "::1"}, server[0].IPAddresses); diff != "" {
		t.Errorf("server's addresses (-want +got): %s", diff)
	}
}

func TestCertificateLifetimes(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Second)
	for _, tt := range []struct {
		name     string
		days     int
		ca, leaf int
	}{
		{"default: long authority, short leaves", 0, DefaultCADays, DefaultLeafDays},
		{"explicit days count for all", 30, 30, 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := initialized(t, InitOptions{Days: tt.days, Now: func() time.Time { return now }})
			all, err := DescribeDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			got := map[Kind]time.Time{}
			for _, d := range all {
				got[d.Kind] = d.NotAfter
			}
			want := map[Kind]time.Time{KindCA: now.AddDate(0, 0, tt.ca), KindServer: now.AddDate(0, 0, tt.leaf), KindClient: now.AddDate(0, 0, tt.leaf)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("ends (-want +got): %s", diff)
			}
		})
	}
}

func TestInitIsIdempotent(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	before := contents(t, dir)
	result, err := Init(dir, InitOptions{})
	if err != nil {
		t.Fatalf("second Init: %v", err)
	}
	if result.Outcome != Unchanged || len(result.Certificates) != 3 {
		t.Errorf("second Init: outcome %q with %d certificates, want %q with 3", result.Outcome, len(result.Certificates), Unchanged)
	}
	if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
		t.Errorf("second Init changed files: %s", diff)
	}
}

func TestForceReplacesEverything(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	before := contents(t, dir)
	result, err := Init(dir, InitOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if result.Outcome != Replaced {
		t.Errorf("outcome %q, want %q", result.Outcome, Replaced)
	}
	for name, old := range before {
		if contents(t, dir)[name] == old {
			t.Errorf("%s is the old one after a forced Init", name)
		}
	}
}

func TestInitKeepsFilesItCannotUse(t *testing.T) {
	t.Parallel()
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name  string
		spoil func(*testing.T, string)
		opts  InitOptions
		want  error
		says  string
	}{
		{"a key is gone", remove(ClientKeyFile), InitOptions{}, ErrIncomplete, ClientKeyFile},
		{"the authority is gone", remove(CACertFile), InitOptions{}, ErrIncomplete, CACertFile},
		{"a key of another set", func(t *testing.T, dir string) {
			replace(t, filepath.Join(initialized(t, InitOptions{}), ServerKeyFile), filepath.Join(dir, ServerKeyFile))
		}, InitOptions{}, ErrMismatch, ServerKeyFile},
		{"an authority of another set", func(t *testing.T, dir string) {
			other := initialized(t, InitOptions{})
			replace(t, filepath.Join(other, CACertFile), filepath.Join(dir, CACertFile))
			replace(t, filepath.Join(other, CAKeyFile), filepath.Join(dir, CAKeyFile))
		}, InitOptions{}, ErrUntrusted, ServerCertFile},
		{"expired", func(*testing.T, string) {}, InitOptions{Now: func() time.Time { return time.Now().AddDate(0, 0, 91) }}, ErrExpired, ServerCertFile},
		{"a host that it does not cover", func(*testing.T, string) {}, InitOptions{Hosts: []string{"new.example"}}, ErrWrongHosts, "new.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := initialized(t, InitOptions{})
			tt.spoil(t, dir)
			before := contents(t, dir)
			_, err := Init(dir, tt.opts)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Init: %v, want %v", err, tt.want)
			}
			for _, part := range []string{tt.says, "--force"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not mention %q", err, part)
				}
			}
			if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
				t.Errorf("the refused Init changed files: %s", diff)
			}
			tt.opts.Force = true
			if _, err := Init(dir, tt.opts); err != nil {
				t.Errorf("Init with Force: %v, want a new set", err)
			}
		})
	}
}

func TestAuthorityKeyMayBeKeptElsewhere(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	if err := os.Remove(filepath.Join(dir, CAKeyFile)); err != nil {
		t.Fatal(err)
	}
	result, err := Init(dir, InitOptions{})
	if err != nil || result.Outcome != Unchanged {
		t.Errorf("Init without ca-key.pem: %q, %v; want %q", result.Outcome, err, Unchanged)
	}
}

func TestProductionNeedsHosts(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certs")
	if _, err := Init(dir, InitOptions{Environment: Production}); err == nil {
		t.Error("production without any host was accepted")
	}
	if exists(dir) {
		t.Error("a refused Init created a directory")
	}
	if _, err := Init(dir, InitOptions{Environment: Production, Hosts: []string{"10.0.0.5"}}); err != nil {
		t.Fatal(err)
	}
	server, err := Describe(filepath.Join(dir, ServerCertFile))
	if err != nil {
		t.Fatal(err)
	}
	if len(server[0].DNSNames) != 0 || !cmp.Equal(server[0].IPAddresses, []string{"10.0.0.5"}) {
		t.Errorf("production certificate names %v %v, want exactly what was given", server[0].DNSNames, server[0].IPAddresses)
	}
}

func TestInvalidHostsAreRefused(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"", "tcp://a", "a:2376", "*.example", "a b", "-a", "0.0.0.0", strings.Repeat("a.", 127) + "aa"} {
		if _, _, err := serverNames([]string{host}, Production); err == nil {
			t.Errorf("host %q was accepted", host)
		}
	}
	if _, _, err := serverNames(nil, "nowhere"); err == nil {
		t.Error("an unknown environment was accepted")
	}
}

func TestSecondWriterIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unlock, err := fileset.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Init(dir, InitOptions{}); !errors.Is(err, ErrLocked) {
		t.Errorf("Init beside another writer: %v, want %v", err, ErrLocked)
	}
	unlock()
	if _, err := Init(dir, InitOptions{}); err != nil {
		t.Errorf("Init after the other writer: %v", err)
	}
}

var errCrash = errors.New("crash")

// TestCrashAtEveryStep ends a first and a forced run ahead of each of their changes on disk. The files must then be either
// usable or refused with advice, and the next plain run must end with a usable set.
func TestCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, force := range []bool{false, true} {
		steps := countSteps(t, force)
		if steps < 15 {
			t.Fatalf("only %d steps: the hook no longer sees the writes", steps)
		}
		for at := range steps {
			t.Run(fmt.Sprintf("force=%v/step %d", force, at), func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "certs")
				if force {
					dir = initialized(t, InitOptions{})
				}
				step := ""
				crash := func(name string) error {
					if at--; at < 0 {
						step = name
						return errCrash
					}
					return nil
				}
				if _, err := Init(dir, InitOptions{Force: force, before: crash}); !errors.Is(err, errCrash) {
					t.Fatalf("the run did not stop at its step: %v", err)
				}
				for _, load := range []func() error{
					func() error { _, _, err := LoadServerTLS(ServerPaths(dir), ServerOptions{}); return err },
					func() error {
						_, _, err := LoadClientTLS(ClientPaths(dir, Paths{}), ClientOptions{})
						return err
					},
				} {
					if err := load(); err != nil && !strings.Contains(err.Error(), "berth certs init") {
						t.Errorf("crash before %q: loading says %q, want advice to run init", step, err)
					}
				}
				result, err := Init(dir, InitOptions{})
				if err != nil {
					t.Fatalf("Init after a crash before %q: %v", step, err)
				}
				if serverErr, clientErr := handshake(t, serverTLS(t, dir), clientTLS(t, dir)); serverErr != nil || clientErr != nil {
					t.Errorf("handshake after recovery from %q (%s): server %v, client %v", step, result.Outcome, serverErr, clientErr)
				}
				entries, err := os.ReadDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				if len(entries) != 8 {
					t.Errorf("recovery from %q left %d entries, want the 8 files and no leftovers", step, len(entries))
				}
			})
		}
	}
}

func countSteps(t *testing.T, force bool) int {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "certs")
	if force {
		dir = initialized(t, InitOptions{})
	}
	steps := 0
	count := func(string) error { steps++; return nil }
	if _, err := Init(dir, InitOptions{Force: force, before: count}); err != nil {
		t.Fatal(err)
	}
	return steps
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[entry.Name()] = string(data)
	}
	return all
}

// replace replaces to by a new file with the content of from.
func replace(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to+".new", data, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(to+".new", to); err != nil {
		t.Fatal(err)
	}
}
