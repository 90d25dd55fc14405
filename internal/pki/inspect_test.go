package pki

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"berth/internal/pin"
)

func TestVerifyFindsEachFault(t *testing.T) {
	t.Parallel()
	chmod := func(name string, mode fs.FileMode) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name  string
		spoil func(*testing.T, string)
		opts  VerifyOptions
		want  []string // status code, of all that is not a pass
	}{
		{"nothing", func(*testing.T, string) {}, VerifyOptions{}, nil},
		{"directory open to all", chmod(".", 0o777), VerifyOptions{}, []string{"fail directory-mode"}},
		{"directory readable", chmod(".", 0o755), VerifyOptions{}, []string{"warn directory-mode"}},
		{"key readable", chmod(ServerKeyFile, 0o440), VerifyOptions{}, []string{"fail file-mode"}},
		{"certificate writable", chmod(CACertFile, 0o664), VerifyOptions{}, []string{"fail file-mode"}},
		{"key of another", func(t *testing.T, dir string) {
			replace(t, filepath.Join(dir, ServerKeyFile), filepath.Join(dir, ClientKeyFile))
		}, VerifyOptions{}, []string{"fail client-pair"}},
		{"no key", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, ServerKeyFile)); err != nil {
				t.Fatal(err)
			}
		}, VerifyOptions{}, []string{"fail server-pair"}},
		{"another authority", func(t *testing.T, dir string) {
			other := initialized(t, InitOptions{})
			replace(t, filepath.Join(other, ClientCertFile), filepath.Join(dir, ClientCertFile))
			replace(t, filepath.Join(other, ClientKeyFile), filepath.Join(dir, ClientKeyFile))
		}, VerifyOptions{}, []string{"fail client-chain"}},
		{"authority's key of another", func(t *testing.T, dir string) {
			replace(t, filepath.Join(initialized(t, InitOptions{}), CAKeyFile), filepath.Join(dir, CAKeyFile))
		}, VerifyOptions{}, []string{"fail authority-key"}},
		{"server as client", func(t *testing.T, dir string) {
			replace(t, filepath.Join(dir, ServerCertFile), filepath.Join(dir, ClientCertFile))
			replace(t, filepath.Join(dir, ServerKeyFile), filepath.Join(dir, ClientKeyFile))
		}, VerifyOptions{}, []string{"fail client-usage"}},
		{"names", func(*testing.T, string) {}, VerifyOptions{Hosts: []string{"engine.example", "localhost"}}, []string{"fail server-names"}},
		{"expired", func(*testing.T, string) {}, VerifyOptions{Now: func() time.Time { return time.Now().AddDate(0, 0, 91) }}, []string{"fail client-dates", "fail server-dates"}},
		{"last third", func(*testing.T, string) {}, VerifyOptions{Now: func() time.Time { return time.Now().AddDate(0, 0, 61) }}, []string{"warn client-dates", "warn server-dates"}},
		{"revoked", func(t *testing.T, dir string) { mustRevoke(t, dir, filepath.Join(dir, ClientCertFile)) }, VerifyOptions{}, []string{"fail client-not-revoked"}},
		{"list", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, CRLFile), []byte("x"), 0o444); err != nil {
				t.Fatal(err)
			}
		}, VerifyOptions{}, []string{"fail revocation-list"}},
		{"rotating", func(t *testing.T, dir string) { step(t, dir, RotateOptions{}) }, VerifyOptions{}, []string{"warn rotation-complete"}},
		{"no authority", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, CACertFile)); err != nil {
				t.Fatal(err)
			}
		}, VerifyOptions{}, []string{"fail authority"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := initialized(t, InitOptions{})
			tt.spoil(t, dir)
			findings, err := Verify(dir, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range findings {
				if f.Status != Pass {
					got = append(got, string(f.Status)+" "+f.Code)
				}
				if (f.Remedy == "") != (f.Status == Pass) || f.Text == "" || f.Path == "" {
					t.Errorf("%+v: want a file, what was seen, and a remedy for all but a pass", f)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got): %s", diff)
			}
		})
	}
	if _, err := Verify(filepath.Join(t.TempDir(), "none"), VerifyOptions{}); !errors.Is(err, ErrMissing) {
		t.Errorf("no directory: %v, want %v", err, ErrMissing)
	}
}

func TestUnreadableKeyIsReported(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	for _, path := range []string{dir, filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	failed := make(chan error)
	go func() {
		if os.Geteuid() == 0 {
			// Root may read everything; this thread drops that capability and ends with the goroutine.
			runtime.LockOSThread()
			if err := syscall.Setfsuid(65534); err != nil {
				failed <- err
				return
			}
		} else if err := os.Chmod(filepath.Join(dir, ClientKeyFile), 0); err != nil {
			failed <- err
			return
		}
		_, _, err := LoadClientTLS(ClientPaths(dir, Paths{}), ClientOptions{})
		failed <- err
	}()
	err := <-failed
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), ClientKeyFile) || !strings.Contains(err.Error(), advicePermission) {
		t.Errorf("got %v, want a refusal that names the key and says what to do", err)
	}
}

func TestListReportsUse(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	alice, bob := issued(t, dir, "alice"), issued(t, dir, "bob")
	mustRevoke(t, dir, filepath.Join(bob, ClientCertFile))
	mark := func(path string) string { return described(t, path).FingerprintSHA256 }
	yes, no := new(bool), new(bool)
	*yes = true
	for _, tt := range []struct {
		name  string
		usage Usage
		want  []*bool // ca, server, client, alice, bob
	}{
		{"not known", Usage{}, []*bool{yes, nil, no, nil, nil}},
		{"all known", Usage{
			Server: mark(filepath.Join(dir, ServerCertFile)), Client: filepath.Join(dir, ClientCertFile),
			Connected: []string{mark(filepath.Join(alice, ClientCertFile))},
		}, []*bool{yes, yes, yes, yes, no}},
		{"another server, another client", Usage{Server: "0", Client: filepath.Join(alice, ClientCertFile), Connected: []string{}}, []*bool{yes, no, no, no, no}},
		{"connected from elsewhere", Usage{Connected: []string{mark(filepath.Join(dir, ClientCertFile))}}, []*bool{yes, nil, yes, no, no}},
	} {
		listings, err := List(dir, tt.usage)
		if err != nil {
			t.Fatal(err)
		}
		var got []*bool
		for i, l := range listings {
			got = append(got, l.InUse)
			if l.Elsewhere != (i > 2) || l.Revoked != (i == 4) || !strings.HasPrefix(l.Pin, pin.Prefix) {
				t.Errorf("%s: %+v", tt.name, l)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got): %s", tt.name, diff)
		}
	}
}

func TestBundleHasOnlyClientFiles(t *testing.T) {
	t.Parallel()
	dir := initialized(t, InitOptions{})
	var archive bytes.Buffer
	if _, err := BundleTar(dir, &archive, time.Now()); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	reader := tar.NewReader(&archive)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(reader)
		if err != nil || string(data) != contents(t, dir)[header.Name] {
			t.Errorf("%s differs from the file: %v", header.Name, err)
		}
		got[header.Name] = header.Mode
	}
	if diff := cmp.Diff(map[string]int64{CACertFile: 0o444, ClientCertFile: 0o444, ClientKeyFile: 0o400, CRLFile: 0o444}, got); diff != "" {
		t.Errorf("archive (-want +got): %s", diff)
	}
	out := filepath.Join(t.TempDir(), "bundle")
	if _, err := BundleDir(dir, out, false, time.Now()); err != nil {
		t.Fatal(err)
	}
	if !works(t, serverTLS(t, dir), clientTLS(t, out)) {
		t.Error("a client with the bundle is not admitted")
	}
	shared := t.TempDir()
	if err := os.Chmod(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := BundleDir(dir, shared, false, time.Now()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(shared); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("a directory that was there before has mode %v, %v; want it untouched", info.Mode(), err)
	}
	if _, err := BundleDir(dir, out, false, time.Now()); !errors.Is(err, ErrExists) {
		t.Errorf("a second time: %v, want %v", err, ErrExists)
	}
	if _, err := BundleDir(dir, dir, true, time.Now()); !errors.Is(err, ErrExists) {
		t.Errorf("onto the authority: %v, want %v", err, ErrExists)
	}
	if _, err := BundleDir(dir, out, true, time.Now().AddDate(0, 0, 91)); !errors.Is(err, ErrExpired) {
		t.Errorf("expired: %v, want %v", err, ErrExpired)
	}
}
