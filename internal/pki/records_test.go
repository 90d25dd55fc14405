package pki

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/internal/fileset"
)

// put replaces a file of a certificate directory; an empty text removes it.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if text == "" {
		return
	}
	if err := os.WriteFile(path, []byte(text), 0o444); err != nil {
		t.Fatal(err)
	}
}

// starts starts a server with these files and returns whether it admits a client, or why it does not start.
func starts(t *testing.T, dir, client string) (admitted bool, err error) {
	t.Helper()
	server, _, err := OpenServer(ServerPaths(dir), ServerOptions{})
	if err != nil {
		return false, err
	}
	return works(t, server.TLS(), clientTLS(t, client)), nil
}

// A revoked client stays refused whatever happens to the list: no restart admits it.
func TestServerNeedsKnownList(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, dir string, empty, first string) string // the new content of crl.pem
		want  error
	}{
		{"removed", func(*testing.T, string, string, string) string { return "" }, ErrNoList},
		{"that of the beginning", func(_ *testing.T, _, empty, _ string) string { return empty }, ErrOlderList},
		{"that before the last", func(_ *testing.T, _, _, first string) string { return first }, ErrOlderList},
		{"cut off", func(t *testing.T, dir, _, _ string) string { return contents(t, dir)[CRLFile][:200] }, ErrMalformed},
		{"of another authority", func(t *testing.T, _, _, _ string) string { return contents(t, initialized(t, InitOptions{}))[CRLFile] }, ErrListSigner},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := initialized(t, InitOptions{})
			empty := contents(t, dir)[CRLFile]
			alice, bob, carol := issued(t, dir, "alice"), issued(t, dir, "bob"), issued(t, dir, "carol")
			mustRevoke(t, dir, filepath.Join(alice, ClientCertFile))
			first := contents(t, dir)[CRLFile]
			mustRevoke(t, dir, filepath.Join(bob, ClientCertFile))
			put(t, filepath.Join(dir, CRLFile), tt.spoil(t, dir, empty, first))
			for _, client := range []string{bob, carol} {
				if admitted, err := starts(t, dir, client); admitted || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), "berth certs") {
					t.Errorf("start: admitted %v, %v; want it refused for %v, and what to do", admitted, err, tt.want)
				}
			}
			if findings, err := Verify(dir, VerifyOptions{}); err != nil || !slices.ContainsFunc(findings, func(f Finding) bool { return f.Code == CheckList && f.Status == Fail }) {
				t.Errorf("the directory passes its inspection: %v, %+v", err, findings)
			}
			if errors.Is(tt.want, ErrNoList) || errors.Is(tt.want, ErrOlderList) {
				if result, err := Init(dir, InitOptions{}); err != nil || result.Outcome != Completed {
					t.Fatalf("recreate the list: %v, %v", result.Outcome, err)
				}
			} else if _, err := Revoke(dir, filepath.Join(alice, ClientCertFile), RevokeOptions{Force: true}); err != nil {
				t.Fatal(err)
			}
			for client, want := range map[string]bool{alice: false, bob: false, carol: true} {
				if admitted, err := starts(t, dir, client); err != nil || admitted != want {
					t.Errorf("%s with the recreated list: admitted %v, %v; want %v", filepath.Base(client), admitted, err, want)
				}
			}
		})
	}
}

// Without records the content of a lost list is not known: replacing it by an empty one must be requested.
func TestUnknownLostListIsReplacedOnlyOnRequest(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	alice, bob := issued(t, dir, "alice"), issued(t, dir, "bob")
	mustRevoke(t, dir, filepath.Join(alice, ClientCertFile))
	put(t, filepath.Join(dir, CRLFile), "")
	put(t, filepath.Join(dir, recordsFile), "")
	issued(t, dir, "carol") // makes records, which do not say what was revoked either
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrNoList) || !strings.Contains(err.Error(), "--forget-revocations") {
			t.Errorf("%s: %v; want %v, and what it takes", what, err, ErrNoList)
		}
		if fileset.Exists(filepath.Join(dir, CRLFile)) {
			t.Errorf("%s made a list", what)
		}
	}
	_, err := starts(t, dir, alice)
	refused("start", err)
	_, err = Init(dir, InitOptions{})
	refused("init", err)
	_, err = Revoke(dir, filepath.Join(bob, ClientCertFile), RevokeOptions{})
	refused("revoke", err)
	_, err = Revoke(dir, filepath.Join(bob, ClientCertFile), RevokeOptions{Force: true})
	refused("revoke with force", err)
	if _, err := Revoke(dir, filepath.Join(bob, ClientCertFile), RevokeOptions{ForgetRevocations: true}); err != nil {
		t.Fatal(err)
	}
	for client, want := range map[string]bool{alice: true, bob: false} {
		if admitted, err := starts(t, dir, client); err != nil || admitted != want {
			t.Errorf("%s with revocations forgotten: admitted %v, %v; want %v", filepath.Base(client), admitted, err, want)
		}
	}
	put(t, filepath.Join(dir, CRLFile), "")
	put(t, filepath.Join(dir, recordsFile), "")
	if result, err := Init(dir, InitOptions{ForgetRevocations: true}); err != nil || result.Outcome != Completed {
		t.Errorf("init with revocations forgotten: %v, %v", result.Outcome, err)
	}
}

// The files of a server on another machine have no records: there the authority's certificate promises a list.
func TestIssuedServerFilesNeedTheirList(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	out := filepath.Join(t.TempDir(), "server")
	if _, err := Issue(dir, IssueOptions{Kind: KindServer, Hosts: []string{"localhost"}, Out: out}); err != nil {
		t.Fatal(err)
	}
	client := issued(t, dir, "alice")
	if admitted, err := starts(t, out, client); err != nil || !admitted {
		t.Fatalf("with its list: admitted %v, %v", admitted, err)
	}
	put(t, filepath.Join(out, CRLFile), "")
	if _, err := starts(t, out, client); !errors.Is(err, ErrNoList) {
		t.Errorf("without its list: %v, want %v", err, ErrNoList)
	}
	bundle := filepath.Join(t.TempDir(), "bundle")
	if _, err := BundleDir(dir, bundle, false, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, warnings, err := OpenClient(ClientPaths(bundle, Paths{}), ClientOptions{}); err != nil || len(warnings) != 0 {
		t.Errorf("client with its list: %v, %+v", err, warnings)
	}
	put(t, filepath.Join(bundle, CRLFile), "")
	if _, warnings, err := OpenClient(ClientPaths(bundle, Paths{}), ClientOptions{}); err != nil || len(warnings) != 1 || warnings[0].Code != WarnListMissing {
		t.Errorf("client without its list: %v, %+v; want a warning", err, warnings)
	}
}

// A running server does not trust a new authority without its list; the files in force stay.
func TestNewAuthorityNeedsItsList(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	elsewhere := copied(t, dir)
	server := openListed(t, elsewhere, nil)
	alice := issued(t, dir, "alice")
	if at := step(t, dir, RotateOptions{}); at.Stage != StageTrusted {
		t.Fatalf("rotation: %+v", at)
	}
	put(t, filepath.Join(elsewhere, CACertFile), contents(t, dir)[CACertFile])
	if !works(t, server.TLS(), clientTLS(t, alice)) {
		t.Error("a client of the authority in force is refused")
	}
	if len(server.reports) != 1 || !errors.Is(server.reports[0], ErrNoList) {
		t.Errorf("reports %v, want one of %v", server.reports, ErrNoList)
	}
	put(t, filepath.Join(elsewhere, CRLFile), contents(t, dir)[CRLFile])
	if !works(t, server.TLS(), clientTLS(t, alice)) || len(server.reports) != 2 || server.reports[1] != nil {
		t.Errorf("with both: reports %v, want the change taken", server.reports)
	}
}

// Authorities of other tools and of earlier versions have no list before something is revoked; from then on it is known.
func TestForeignAuthorityNeedsNoListBeforeFirstRevocation(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	plain(t, dir)
	if _, _, err := OpenServer(ServerPaths(dir), ServerOptions{}); err != nil {
		t.Fatalf("start without a list that was never made: %v", err)
	}
	alice := issued(t, dir, "alice")
	mustRevoke(t, dir, filepath.Join(alice, ClientCertFile))
	put(t, filepath.Join(dir, CRLFile), "")
	if _, err := starts(t, dir, alice); !errors.Is(err, ErrNoList) {
		t.Errorf("start without the list: %v, want %v", err, ErrNoList)
	}
}

// plain replaces the set of a directory by one of an authority that promises no list.
func plain(t *testing.T, dir string) {
	t.Helper()
	now := time.Now()
	request, err := template(Request{CommonName: "plain", Now: now, Days: 30})
	if err != nil {
		t.Fatal(err)
	}
	request.IsCA, request.BasicConstraintsValid, request.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	key, err := newKey(ECDSA)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := sign(request, request, key, key)
	if err != nil {
		t.Fatal(err)
	}
	ca := &Authority{Pair{Certificate: cert, key: key}}
	server, err := ca.IssueServer(Request{CommonName: "localhost", DNSNames: []string{"localhost"}, Now: now, Days: 30})
	if err != nil {
		t.Fatal(err)
	}
	client, err := ca.IssueClient(Request{CommonName: "berth", Now: now, Days: 30})
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string]Pair{CACertFile: ca.Pair, ServerCertFile: server, ClientCertFile: client} {
		put(t, filepath.Join(dir, name), string(pair.CertPEM()))
	}
	for name, pair := range map[string]Pair{CAKeyFile: ca.Pair, ServerKeyFile: server, ClientKeyFile: client} {
		text, err := pair.KeyPEM()
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, name), string(text))
		if err := os.Chmod(filepath.Join(dir, name), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(dir, CRLFile), "")
	put(t, filepath.Join(dir, recordsFile), "")
}

func TestExposedFilesAreRefusedWhereStrict(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		path    string
		mode    os.FileMode
		warning string
		refused bool
	}{
		{"directory writable by all", ".", 0o777, WarnOpenDirectory, true},
		{"directory of a group", ".", 0o775, WarnOpenDirectory, true},
		{"readable directory", ".", 0o755, "", false},
		{"key readable by all", "key", 0o644, WarnKeyReadable, true},
		{"authority's key readable by all", CAKeyFile, 0o644, WarnKeyReadable, true},
		{"authority's key that a group reads", CAKeyFile, 0o440, "", false},
		{"key that a group reads", "key", 0o440, WarnKeyReadable, false},
		{"authorities writable by all", CACertFile, 0o666, WarnOpenDirectory, true},
		{"list writable by all", CRLFile, 0o646, WarnOpenDirectory, true},
		{"records writable by all", recordsFile, 0o622, WarnOpenDirectory, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := initialized(t, InitOptions{})
			opens := map[string]func(strict bool) ([]Warning, error){
				ServerKeyFile: func(strict bool) ([]Warning, error) {
					_, warnings, err := OpenServer(ServerPaths(dir), ServerOptions{Strict: strict})
					return warnings, err
				},
				ClientKeyFile: func(strict bool) ([]Warning, error) {
					_, warnings, err := OpenClient(ClientPaths(dir, Paths{}), ClientOptions{Strict: strict})
					return warnings, err
				},
			}
			for key, open := range opens {
				path := filepath.Join(dir, tt.path)
				if tt.path == "key" {
					path = filepath.Join(dir, key)
				}
				if err := os.Chmod(path, tt.mode); err != nil {
					t.Fatal(err)
				}
				warnings, err := open(false)
				var codes string
				for _, w := range warnings {
					codes += w.Code
				}
				if err != nil || codes != tt.warning {
					t.Errorf("%s, not strict: %v, warnings %+v; want %q", key, err, warnings, tt.warning)
				}
				if _, err := open(true); (err != nil) != tt.refused || err != nil && !strings.Contains(err.Error(), "chmod 0") {
					t.Errorf("%s, strict: %v; want it refused: %v, and chmod", key, err, tt.refused)
				}
			}
		})
	}
}
