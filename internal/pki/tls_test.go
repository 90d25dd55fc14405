package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHandshakeOfOneSet(t *testing.T) {
	t.Parallel()
	for _, keyType := range []KeyType{ECDSA, Ed25519} {
		t.Run(string(keyType), func(t *testing.T) {
			t.Parallel()
			dir := initialized(t, InitOptions{KeyType: keyType})
			if serverErr, clientErr := handshake(t, serverTLS(t, dir), clientTLS(t, dir)); serverErr != nil || clientErr != nil {
				t.Errorf("server %v, client %v; want both content", serverErr, clientErr)
			}
		})
	}
}

func TestInvalidHandshakesFail(t *testing.T) {
	t.Parallel()
	past := func() time.Time { return time.Now().AddDate(0, 0, -40) }
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, dir string, server, client *tls.Config)
		says  string
	}{
		{"no client certificate", func(_ *testing.T, _ string, _, client *tls.Config) {
			client.GetClientCertificate = nil
		}, "didn't provide a certificate"},
		{"client of another authority", func(t *testing.T, _ string, _, client *tls.Config) {
			client.GetClientCertificate = clientTLS(t, initialized(t, InitOptions{})).GetClientCertificate
		}, "unknown authority"},
		{"server of another authority", func(t *testing.T, _ string, _, client *tls.Config) {
			client.VerifyConnection = clientTLS(t, initialized(t, InitOptions{})).VerifyConnection
		}, "bad certificate"},
		{"TLS 1.2", func(_ *testing.T, _ string, _, client *tls.Config) {
			client.MinVersion, client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		}, "unsupported versions"},
		{"server certificate as a client", func(t *testing.T, dir string, _, client *tls.Config) {
			presents(t, client, ServerPaths(dir))
		}, "incompatible key usage"},
		{"client certificate as a server", func(t *testing.T, dir string, server, _ *tls.Config) {
			paths := ClientPaths(dir, Paths{})
			pair, err := readPair(paths.Cert, paths.Key, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			server.Certificates, server.GetConfigForClient = []tls.Certificate{pair}, nil
		}, "bad certificate"},
		{"another server name", func(t *testing.T, dir string, _, client *tls.Config) {
			other, _, err := LoadClientTLS(ClientPaths(dir, Paths{}), ClientOptions{ServerName: "elsewhere.example"})
			if err != nil {
				t.Fatal(err)
			}
			client.VerifyConnection = other.VerifyConnection
		}, "bad certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := initialized(t, InitOptions{})
			server, client := serverTLS(t, dir), clientTLS(t, dir)
			tt.spoil(t, dir, server, client)
			serverErr, clientErr := handshake(t, server, client)
			if serverErr == nil || clientErr == nil {
				t.Fatalf("server %v, client %v; want both to fail", serverErr, clientErr)
			}
			if !strings.Contains(serverErr.Error(), tt.says) {
				t.Errorf("server says %q, want %q in it", serverErr, tt.says)
			}
		})
	}
	t.Run("expired client", func(t *testing.T) {
		t.Parallel()
		dir := initialized(t, InitOptions{})
		client := clientTLS(t, dir)
		ca, err := NewAuthority(Request{CommonName: "old", Now: past(), Days: 3650})
		if err != nil {
			t.Fatal(err)
		}
		expired, err := ca.IssueClient(Request{CommonName: "c", Now: past(), Days: 30})
		if err != nil {
			t.Fatal(err)
		}
		server := serverTLS(t, dir)
		server.GetConfigForClient = nil
		server.ClientCAs = x509.NewCertPool()
		server.ClientCAs.AddCert(ca.Certificate)
		client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{expired.Certificate.Raw}, PrivateKey: expired.Signer()}, nil
		}
		serverErr, _ := handshake(t, server, client)
		if serverErr == nil || !strings.Contains(serverErr.Error(), "expired") {
			t.Errorf("server says %v, want a refusal as expired", serverErr)
		}
	})
}

// presents makes client present the pair of paths, whatever its usage.
func presents(t *testing.T, client *tls.Config, paths Paths) {
	t.Helper()
	pair, err := readPair(paths.Cert, paths.Key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
}

func TestServerReloadsChangedFiles(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	clock := newClock(time.Now())
	var reports []error
	server, _, err := LoadServerTLS(ServerPaths(dir), ServerOptions{Now: clock.now, Reloaded: func(err error) { reports = append(reports, err) }})
	if err != nil {
		t.Fatal(err)
	}
	// Clients reload their files too; this one has its own copy.
	oldClient := clientTLS(t, copied(t, dir))
	works := func(client *tls.Config) bool {
		serverErr, clientErr := handshake(t, server, client)
		return serverErr == nil && clientErr == nil
	}
	if !works(oldClient) {
		t.Fatal("no handshake with the first files")
	}
	if _, err := Init(dir, InitOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	newClient := clientTLS(t, dir)
	if !works(newClient) || works(oldClient) {
		t.Error("after the change the new client must be admitted and the old one refused")
	}
	if diff := cmp.Diff(1, len(reports)); diff != "" || reports[0] != nil {
		t.Errorf("reports %v, want one success", reports)
	}

	// An invalid set must not replace the valid one, and is reported once, not for every handshake.
	replace(t, filepath.Join(initialized(t, InitOptions{}), ServerKeyFile), filepath.Join(dir, ServerKeyFile))
	for range 3 {
		if !works(newClient) {
			t.Fatal("a failed reload has replaced the valid files")
		}
	}
	if len(reports) != 2 || !errors.Is(reports[1], ErrMismatch) {
		t.Errorf("reports %v, want the second and last to be %v", reports, ErrMismatch)
	}
}

func TestClientReloadsChangedCertificate(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	clock := newClock(time.Now())
	client, _, err := LoadClientTLS(ClientPaths(dir, Paths{}), ClientOptions{Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	first, err := client.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Init(dir, InitOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	clock.advance(2 * time.Second)
	second, err := client.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if first.Leaf.Equal(second.Leaf) {
		t.Error("the client still presents the certificate that was replaced on disk")
	}
}

func TestLoadReportsFaultAndAdvice(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		now   func() time.Time
		want  error
		says  []string
	}{
		{"nothing there", func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}, nil, ErrMissing, []string{CACertFile, `run "berth certs init"`}},
		{"no key", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, ClientKeyFile)); err != nil {
				t.Fatal(err)
			}
		}, nil, ErrMissing, []string{ClientKeyFile, "berth certs init"}},
		{"key of another", func(t *testing.T, dir string) {
			replace(t, filepath.Join(dir, ServerKeyFile), filepath.Join(dir, ClientKeyFile))
		}, nil, ErrMismatch, []string{ClientKeyFile, ClientCertFile, "--force"}},
		{"expired", func(*testing.T, string) {}, func() time.Time { return time.Now().AddDate(0, 0, 91) }, ErrExpired, []string{ClientCertFile, "--force"}},
		{"clock behind", func(*testing.T, string) {}, func() time.Time { return time.Now().AddDate(-1, 0, 0) }, ErrNotYetValid, []string{"clock"}},
		{"server certificate", func(t *testing.T, dir string) {
			replace(t, filepath.Join(dir, ServerCertFile), filepath.Join(dir, ClientCertFile))
			replace(t, filepath.Join(dir, ServerKeyFile), filepath.Join(dir, ClientKeyFile))
		}, nil, ErrWrongKind, []string{ClientCertFile, "server"}},
		{"leaf as authority", func(t *testing.T, dir string) {
			replace(t, filepath.Join(dir, ServerCertFile), filepath.Join(dir, CACertFile))
		}, nil, ErrWrongKind, []string{CACertFile}},
		{"rubbish", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "x"), []byte("rubbish"), 0o600); err != nil {
				t.Fatal(err)
			}
			replace(t, filepath.Join(dir, "x"), filepath.Join(dir, ClientCertFile))
		}, nil, ErrMalformed, []string{ClientCertFile}},
		{"key in the authority's file", func(t *testing.T, dir string) {
			replace(t, filepath.Join(dir, CAKeyFile), filepath.Join(dir, CACertFile))
		}, nil, ErrMalformed, []string{CACertFile, "private key"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := initialized(t, InitOptions{})
			tt.spoil(t, dir)
			_, _, err := LoadClientTLS(ClientPaths(dir, Paths{}), ClientOptions{Now: tt.now})
			var file *FileError
			if !errors.Is(err, tt.want) || !errors.As(err, &file) {
				t.Fatalf("got %v, want a FileError of %v", err, tt.want)
			}
			for _, part := range tt.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not mention %q", err, part)
				}
			}
		})
	}
}

func TestKeyOpenToOthersIsAWarning(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	paths := ClientPaths(dir, Paths{})
	if _, warnings, err := LoadClientTLS(paths, ClientOptions{}); err != nil || len(warnings) != 0 {
		t.Fatalf("fresh set: warnings %v, error %v; want none", warnings, err)
	}
	if err := os.Chmod(paths.Key, 0o440); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := LoadClientTLS(paths, ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || warnings[0].Code != WarnKeyReadable || warnings[0].Path != paths.Key {
		t.Errorf("warnings %+v, want one %s for %s", warnings, WarnKeyReadable, paths.Key)
	}
}

func TestLastThirdOfLifeIsAWarning(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	for day, want := range map[int]int{55: 0, 65: 1} {
		_, warnings, err := LoadServerTLS(ServerPaths(dir), ServerOptions{Now: func() time.Time { return time.Now().AddDate(0, 0, day) }})
		if err != nil {
			t.Fatal(err)
		}
		if len(warnings) != want {
			t.Errorf("day %d of 90: warnings %v, want %d", day, warnings, want)
		}
	}
}

func TestClientPaths(t *testing.T) {
	t.Parallel()
	ours, docker, both, pending := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	touch := func(dir string, names ...string) {
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	touch(ours, ClientCertFile, ClientKeyFile, DockerCertFile, DockerKeyFile)
	touch(docker, DockerCertFile, DockerKeyFile)
	touch(both, ClientCertFile, DockerCertFile, DockerKeyFile)
	touch(pending, DockerCertFile, DockerKeyFile)
	crash := func(step string) error {
		if step == "install "+CAKeyFile {
			return errCrash
		}
		return nil
	}
	if _, err := Init(pending, InitOptions{before: crash}); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		dir      string
		override Paths
		want     Paths
	}{
		{"our names come first", ours, Paths{}, Paths{CA: "ca.pem", Cert: ClientCertFile, Key: ClientKeyFile}},
		{"Docker's names", docker, Paths{}, Paths{CA: "ca.pem", Cert: DockerCertFile, Key: DockerKeyFile}},
		{"half of ours is not mixed with Docker's", both, Paths{}, Paths{CA: "ca.pem", Cert: ClientCertFile, Key: ClientKeyFile}},
		{"ours are still in an interrupted change", pending, Paths{}, Paths{CA: "ca.pem", Cert: ClientCertFile, Key: ClientKeyFile}},
		{"explicit paths win one by one", docker, Paths{Key: "/k"}, Paths{CA: "ca.pem", Cert: DockerCertFile, Key: "/k"}},
	} {
		want := tt.want
		for _, p := range []*string{&want.CA, &want.Cert, &want.Key} {
			if !filepath.IsAbs(*p) {
				*p = filepath.Join(tt.dir, *p)
			}
		}
		if diff := cmp.Diff(want, ClientPaths(tt.dir, tt.override)); diff != "" {
			t.Errorf("%s (-want +got): %s", tt.name, diff)
		}
	}
}
